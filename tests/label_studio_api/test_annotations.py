"""Which annotation counts, and what becomes of predictions, against a stand-in of Label Studio."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from tenacity import wait_none

from grounded_labeler.label_studio_api import client as client_module
from grounded_labeler.label_studio_api import tasks as tasks_module
from grounded_labeler.label_studio_api.annotations import (
    ACCEPTED,
    AnnotatedTask,
    Annotation,
    counting_annotation,
    read_annotations,
)
from grounded_labeler.label_studio_api.client import LabelStudioError
from grounded_labeler.label_studio_api.project import Project, User
from tests.helpers.asking import TUTORIAL
from tests.helpers.drawing import box
from tests.preannotate import label_studio_server as stand_in

VERSION = "demo-1"


@pytest.fixture
def server() -> Iterator[stand_in.Project]:
    with stand_in.serve(stand_in.Project(TUTORIAL)) as project:
        for name in "abcd":
            project.add(f"/{name}.jpg")
        yield project


@pytest.fixture
def project(server: stand_in.Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(client_module, "wait_exponential_jitter", lambda *_: wait_none())
    return Project(server.url, "token", server.number)


def regions(label: str, **other: Any) -> list[dict[str, Any]]:
    return [box(10, 10, 20, 20, label=label) | other]


def labels(tasks: list[AnnotatedTask]) -> dict[int, str]:
    return {task.id: task.result[0]["value"]["rectanglelabels"][0] for task in tasks}


def marked(label: str) -> list[dict[str, Any]]:
    return regions(label, meta={"text": [f"{ACCEPTED}: precision 0.97"]})


def test_the_newest_annotation_counts_and_a_ground_truth_before_it(
    server: stand_in.Project, project: Project
) -> None:
    server.annotate(2, regions("Circle"), updated_at="2026-03-01T00:00:00Z")
    server.annotate(2, regions("Square"), updated_at="2026-02-01T00:00:00Z")
    server.annotate(1, regions("Circle"), ground_truth=True)
    server.annotate(1, regions("Square"))
    server.annotate(3, regions("Star"), was_cancelled=True)
    found = project.annotated_tasks()
    assert labels(found) == {1: "Circle", 2: "Circle"}
    assert list(labels(found)) == [1, 2]
    assert found[0].data == {"image": "/a.jpg"}


def test_predictions_that_were_accepted_are_no_truth(
    server: stand_in.Project, project: Project
) -> None:
    server.annotate(1, marked("Circle"), ground_truth=True)
    server.annotate(2, marked("Circle"))
    server.annotate(2, regions("Square"))
    assert labels(project.annotated_tasks()) == {2: "Square"}
    assert labels(project.accepted_tasks()) == {1: "Circle", 2: "Circle"}


def test_what_was_accepted_counts_where_no_person_submitted_anything(
    server: stand_in.Project, project: Project
) -> None:
    server.annotate(1, marked("Circle"))
    server.annotate(2, regions("Square"))
    server.annotate(2, marked("Circle"), ground_truth=True)
    server.annotate(3, marked("Circle"), was_cancelled=True)

    counting = {
        task["id"]: own.result[0]["value"]["rectanglelabels"][0] if own else None
        for task, own in project.each_annotated_task()
    }
    assert counting == {1: "Circle", 2: "Square", 3: None, 4: None}


def test_tasks_are_read_when_they_are_wanted(server: stand_in.Project, project: Project) -> None:
    for number in range(100):
        server.add(f"/{number}.jpg")
    tasks = iter(project.each_annotated_task())
    next(tasks)
    assert server.pages == [50]
    assert len(list(tasks)) == 103
    assert server.pages == [50, 50, 4]


def test_only_the_annotations_of_one_person_count(
    server: stand_in.Project, project: Project
) -> None:
    server.users.append({"id": 5, "email": "Other@example.com", "username": "other"})
    server.annotate(1, regions("Circle"), completed_by=5)
    server.annotate(1, regions("Square"))
    server.annotate(2, regions("Star"))
    server.annotate(3, regions("Ring"), completed_by=None)
    assert labels(project.annotated_tasks()) == {1: "Square", 2: "Star", 3: "Ring"}
    for annotator in (5, "other@example.com", " OTHER@EXAMPLE.COM "):
        assert labels(project.annotated_tasks(annotator=annotator)) == {1: "Circle"}
    with pytest.raises(LabelStudioError, match=r"no user with the e-mail address \"x\"\."):
        project.annotated_tasks(annotator="x")


def test_an_annotation_knows_the_prediction_it_began_as(
    server: stand_in.Project, project: Project
) -> None:
    seen = server.predict(1, regions("Circle"), VERSION, score=0.25)
    server.predict(1, regions("Square"), "another")
    server.annotate(1, regions("Circle"), parent_prediction=seen)
    server.annotate(2, regions("Circle"), parent_prediction=None)
    first, second = project.annotated_tasks()
    snapshot = first.annotation.prediction
    assert snapshot is not None
    assert (snapshot.id, snapshot.score, snapshot.model_version) == (seen, 0.25, VERSION)
    assert first.annotation.saw_prediction
    assert second.annotation.prediction is None
    assert not second.annotation.saw_prediction
    server.predictions[0]["updated_at"] = (
        first.annotation.created_at + timedelta(seconds=1)
    ).isoformat()
    assert not project.annotated_tasks()[0].annotation.saw_prediction
    [without, _] = project.annotated_tasks(with_predictions=False)
    assert (without.annotation.parent_prediction, without.annotation.prediction) == (seen, None)


def test_two_thousand_tasks_come_in_pages_of_a_bounded_size(
    server: stand_in.Project, project: Project
) -> None:
    for number in range(2000 - len(server.tasks)):
        server.add(f"/{number}.jpg")
    for task in range(1, 2001):
        server.annotate(task, regions("Circle"))
    found = project.annotated_tasks(only=range(1000, 1010))
    assert [task.id for task in found] == list(range(1000, 1010))
    assert server.pages == [50] * 40
    assert len(project.annotated_tasks()) == 2000


def test_predicted_tasks_say_what_people_did_to_them(
    server: stand_in.Project, project: Project
) -> None:
    for task in (4, 3, 2, 1):
        server.predict(task, regions("Circle"), VERSION, score=None)
    server.predict(1, regions("Star"), VERSION, score=0.5)  # newer
    server.predict(1, regions("Ring"), "another")
    server.annotate(2, regions("Circle"))
    server.annotate(3, regions("Circle"), was_cancelled=True)
    server.drafts.add(4)
    found = project.predicted_tasks(VERSION)
    assert [task.id for task in found] == [1, 2, 3, 4]
    assert [task.is_untouched for task in found] == [True, False, False, False]
    assert [task.prediction.score for task in found] == [0.5, None, None, None]
    assert [task.id for task in project.predicted_tasks("another")] == [1]
    assert project.predicted_tasks("none") == []


@pytest.mark.parametrize("ends", [[], [503], ["lost"], [429, "lost"], ["lost", "lost"]])
def test_a_prediction_becomes_one_annotation(
    server: stand_in.Project, project: Project, ends: list[int | str]
) -> None:
    prediction = server.predict(1, regions("Circle"), VERSION)
    server.ends += ends
    made = project.annotate(1, marked("Circle"), prediction)
    assert project.annotate(1, marked("Circle"), prediction) == made
    [one] = server.annotations
    assert (one["id"], one["parent_prediction"], one["result"]) == (made, 1, marked_as(one))
    other = server.predict(1, regions("Circle"), VERSION)
    assert project.annotate(1, marked("Circle"), other) != made


def marked_as(one: dict[str, Any]) -> list[dict[str, Any]]:
    """The regions as they were sent, whatever their ids."""
    assert one["result"][0]["meta"]["text"] == [f"{ACCEPTED}: precision 0.97"]
    result: list[dict[str, Any]] = one["result"]
    return result


def test_annotations_are_deleted_and_may_be_gone(
    server: stand_in.Project, project: Project
) -> None:
    numbers = [server.annotate(task, regions("Circle")) for task in (1, 2, 3)]
    server.ends += [503, "lost"]
    project.delete_annotations([*numbers[:2], 99])
    assert [one["id"] for one in server.annotations] == numbers[2:]
    server.ends += [403]
    with pytest.raises(LabelStudioError, match=r"deletion of annotation 3: 403"):
        project.delete_annotations(numbers[2:])


def test_a_label_config_is_written_unless_somebody_changed_it(
    server: stand_in.Project, project: Project
) -> None:
    before = project.label_config()
    project.write_label_config("<View/>", expected=before)
    assert server.label_config == project.label_config() == "<View/>"
    server.label_config = "<View>of another</View>"
    with pytest.raises(LabelStudioError, match="was changed meanwhile"):
        project.write_label_config("<View/>", expected="<View/>")
    assert server.label_config == "<View>of another</View>"
    server.ends += [400]
    with pytest.raises(LabelStudioError, match="settings of project 7: 400"):
        project.write_label_config("<View>")


def test_a_tab_is_made_once_and_what_people_chose_in_it_stays(
    server: stand_in.Project, project: Project
) -> None:
    server.views.append({"id": 1, "project": 7, "data": None})
    made = project.save_view("Least certain first", ["tasks:predictions_score"])
    own = server.views[-1]
    assert own["data"]["title"] == "Least certain first"
    own["data"]["hiddenColumns"] = {"explore": ["tasks:id"], "labeling": []}
    assert project.save_view("Least certain first", ["-tasks:id"]) == made
    assert len(server.views) == 2
    assert server.views[-1]["data"] == {
        "type": "list", "target": "tasks", "title": "Least certain first",
        "hiddenColumns": {"explore": ["tasks:id"], "labeling": []}, "ordering": ["-tasks:id"],
    }  # fmt: skip


def test_the_users_name_and_the_projects_predictions(
    server: stand_in.Project, project: Project
) -> None:
    assert project.current_user() == User(1, "annotator@example.com")
    assert project.model_version() == ""
    project.show_predictions(VERSION)
    assert project.model_version() == server.model_version == VERSION


@pytest.mark.parametrize("result", [None, [], {}, "x", [None, 3, "x", []]])
def test_an_annotation_may_hold_nothing(
    server: stand_in.Project, project: Project, result: Any
) -> None:
    server.annotate(1, result)
    [task] = project.annotated_tasks()
    assert task.result == []
    assert not task.annotation.is_accepted


def test_what_is_no_annotation_is_one_sentence(server: stand_in.Project, project: Project) -> None:
    server.annotate(1, regions("Circle"), created_at="never")
    with pytest.raises(LabelStudioError, match="is no Label Studio"):
        project.annotated_tasks()


def annotation(number: int, **other: Any) -> Annotation:
    raw = {"id": number, "result": [], "created_at": "2026-01-01T00:00:00Z",
           "updated_at": "2026-01-01T00:00:00Z"}  # fmt: skip
    [one] = read_annotations({"annotations": [raw | other]})
    return one


def test_users_may_be_given_as_objects_and_ties_end_with_the_last() -> None:
    first, second = annotation(1, completed_by={"id": 3, "email": "x"}), annotation(2)
    assert first.completed_by == 3
    assert counting_annotation([first, second]) == second
    assert counting_annotation([first, second], user=3) == first
    assert counting_annotation([first], user=4) is None
    assert counting_annotation([]) is None


@pytest.mark.parametrize("meta", [None, "x", {}, {"text": None}, {"text": [3, {}]}, {"text": []}])
def test_what_people_write_beside_a_region_is_no_mark(meta: Any) -> None:
    assert not annotation(1, result=[{"meta": meta}]).is_accepted
    assert annotation(1, result=[{}, {"meta": {"text": ACCEPTED}}]).is_accepted


def test_where_a_region_came_from_is_no_mark() -> None:
    lines = ["star", "\nLabel Star: the phrase equals its value.", "\nModel version: demo-1\n"]
    assert not annotation(1, result=[{"meta": {"text": lines}}]).is_accepted
    mark = f"{ACCEPTED}: precision 0.97"
    assert annotation(1, result=[{"meta": {"text": [*lines, mark]}}]).is_accepted


def test_a_tab_whose_pages_overlap_is_not_read_in_part(
    server: stand_in.Project, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PostgreSQL sorts tasks that are equal in a tab's column."""
    monkeypatch.setattr(tasks_module, "_PAGE_WITH_REGIONS", 2)
    for task in (1, 2, 3, 4):
        server.annotate(task, regions("Car"))
    server.ties = True
    assert sorted(labels(project.annotated_tasks())) == [1, 2, 3, 4]
    with pytest.raises(LabelStudioError, match=r"1 of its tasks twice.*sort the tab by ID"):
        project.annotated_tasks(view=3)
    each = project.each_annotated_task(view=3)
    assert [next(each)[0]["id"] for _ in range(3)] == [1, 2, 4]  # and 3 is on no page
    with pytest.raises(LabelStudioError, match="sort the tab by ID"):
        next(each)
    server.ties = False
    assert sorted(labels(project.annotated_tasks(view=3))) == [1, 2, 3, 4]
