"""What the commands read and write over the API is what Label Studio's own pages show and save."""

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from e2e.configs import BOXES, POLYGONS, view
from e2e.label_studio import LEGACY_TOKEN, USER, LabelStudio
from e2e.pages import Editor
from e2e.truth import WIDE
from grounded_labeler.coco import coco_area
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Detections
from grounded_labeler.label_studio.annotations import read_objects
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.config_edit import ConfigEdits, LabelEdit, edit_config
from grounded_labeler.label_studio.prediction_builder import Prediction
from grounded_labeler.label_studio.regions import encode_regions
from grounded_labeler.label_studio_api.annotations import ACCEPTED
from grounded_labeler.label_studio_api.client import LabelStudioError
from grounded_labeler.label_studio_api.project import Project

pytestmark = pytest.mark.compatibility

VERSION = "demo-1"
CONFIG = view(BOXES, POLYGONS)
SIZE_WH = (640, 480)
PARTS = [(50, 50, 150, 150), (250, 60, 400, 300)]  # of one object, xyxy in pixels


def predicted(score: float = 0.7) -> Prediction:
    """A circle whose mask has two parts: a box and two polygons."""
    [target] = read_label_config(CONFIG).images
    pixels = np.zeros(SIZE_WH[::-1], np.bool_)
    for x0, y0, x1, y1 in PARTS:
        pixels[y0:y1, x0:x1] = True
    box = np.array([[50, 50, 400, 300]], np.float32)
    found = Detections(box, np.array([score], np.float32), ("circle",), ("Circle",))
    result = encode_regions(found, [Mask.from_full(pixels)], target, SIZE_WH, "both")
    assert len(result) == 3
    return Prediction(result=result, score=score, model_version=VERSION)


def box(label: str) -> dict[str, Any]:
    return {
        "from_name": "boxes", "to_name": "image", "type": "rectanglelabels", "id": f"id-{label}",
        "original_width": 640, "original_height": 480, "image_rotation": 0,
        "value": {"x": 10, "y": 10, "width": 20, "height": 20, "rectanglelabels": [label]},
    }  # fmt: skip


def project_of(label_studio: LabelStudio, title: str, *images: Any) -> tuple[Project, list[int]]:
    number = label_studio.project(title, CONFIG)
    tasks = label_studio.upload(number, *images)
    return Project(label_studio.url, LEGACY_TOKEN, number), tasks


def submit(label_studio: LabelStudio, task: int, *labels: str, **other: Any) -> int:
    """Save an annotation as the editor does."""
    body = {"result": [box(label) for label in labels]} | other
    return int(label_studio._post(f"/api/tasks/{task}/annotations", json=body)["id"])


def change(label_studio: LabelStudio, number: int, *labels: str) -> None:
    body = {"result": [box(label) for label in labels]}
    label_studio._call("PATCH", f"/api/annotations/{number}", json=body)


def labels_in(project: Project, **chosen: Any) -> dict[int, list[str]]:
    """The labels of the annotations that count, by task."""
    return {
        task.id: [region["value"]["rectanglelabels"][0] for region in task.result]
        for task in project.annotated_tasks(**chosen)
    }


def test_the_annotation_that_counts_is_read(label_studio: LabelStudio) -> None:
    project, tasks = project_of(label_studio, "Annotated", *[WIDE] * 6)
    first, starred, skipped, nothing, empty, both = tasks
    older = submit(label_studio, first, "Circle")
    submit(label_studio, first, "Square")
    change(label_studio, older, "Ring")  # now the newest
    submit(label_studio, starred, "Star", ground_truth=True)
    submit(label_studio, starred, "Circle")
    submit(label_studio, skipped, "Circle", was_cancelled=True)
    submit(label_studio, empty)
    submit(label_studio, both, "Circle", was_cancelled=True)
    submit(label_studio, both, "Triangle")
    expected = {first: ["Ring"], starred: ["Star"], empty: [], both: ["Triangle"]}
    assert labels_in(project) == expected
    assert nothing not in expected
    assert labels_in(project, annotator=USER.upper()) == expected
    user = project.current_user()
    assert user.email == USER
    assert labels_in(project, annotator=user.id) == expected
    assert labels_in(project, annotator=user.id + 1) == {}
    assert labels_in(project, only=[empty, skipped, 10**6]) == {empty: []}
    with pytest.raises(LabelStudioError, match='no user with the e-mail address "nobody@x"'):
        project.annotated_tasks(annotator="nobody@x")
    tab = project.save_view("Of tests", ["-tasks:id"])
    assert labels_in(project, view=tab) == expected


def test_predictions_become_annotations_once_and_can_be_taken_back(
    label_studio: LabelStudio,
) -> None:
    project, tasks = project_of(label_studio, "Accepted", *[WIDE] * 4)
    project.add({task: predicted() for task in tasks}, VERSION)
    submit(label_studio, tasks[1], "Circle")
    submit(label_studio, tasks[2], "Circle", was_cancelled=True)
    draft = {"result": [box("Circle")], "lead_time": 1}
    label_studio._post(f"/api/tasks/{tasks[3]}/drafts", json=draft)
    found = project.predicted_tasks(VERSION)
    assert [one.id for one in found] == tasks
    assert [one.is_untouched for one in found] == [True, False, False, False]
    assert [(one.annotations, one.skips, one.has_draft) for one in found[1:]] == [
        (1, 0, False), (0, 1, False), (0, 0, True),
    ]  # fmt: skip
    assert project.predicted_tasks("another") == []
    prediction = found[0].prediction
    assert (prediction.score, prediction.model_version) == (0.7, VERSION)
    marked = [region | {"meta": {"text": [f"{ACCEPTED}: precision 0.97"]}}
              for region in prediction.result]  # fmt: skip
    made = project.annotate(tasks[0], marked, prediction.id)
    assert project.annotate(tasks[0], marked, prediction.id) == made
    assert len(label_studio.annotations(tasks[0])) == 1
    [accepted] = project.accepted_tasks()
    assert (accepted.id, accepted.annotation.id) == (tasks[0], made)
    assert accepted.annotation.parent_prediction == prediction.id
    assert accepted.annotation.completed_by == project.current_user().id
    assert accepted.annotation.updated_by == project.current_user().id
    assert [task.id for task in project.annotated_tasks()] == [tasks[1]]
    project.delete_annotations([made, made])
    assert project.accepted_tasks() == []
    assert project.annotate(tasks[0], marked, prediction.id) != made
    project.replace({tasks[0]: predicted(0.8)}, VERSION)
    assert project.predicted_tasks(VERSION, only=tasks[:1])[0].prediction.score == 0.8


def test_a_label_config_is_edited_and_a_tab_sorts_by_score(label_studio: LabelStudio) -> None:
    project, tasks = project_of(label_studio, "Edited", *[WIDE] * 3)
    before = project.label_config()
    edits = ConfigEdits({"Circle": LabelEdit(0.42, 'a "round" thing')}, detector="demo")
    after = edit_config(before, edits)
    project.write_label_config(after, expected=before)
    [target] = read_label_config(project.label_config()).images
    [circle] = [label for label in target.labels if label.value == "Circle"]
    assert (circle.score_threshold, circle.prompt) == (0.42, 'a "round" thing')
    assert project.label_config() == after
    with pytest.raises(LabelStudioError, match="was changed meanwhile"):
        project.write_label_config(before, expected=before)
    with pytest.raises(LabelStudioError, match="400"):
        project.write_label_config("<View><Image/></View>")
    assert project.label_config() == after
    scores = dict(zip(tasks, (0.7, 0.2, 0.5), strict=True))
    project.add({task: predicted(score) for task, score in scores.items()}, VERSION)
    tab = project.save_view("Least certain first", ["tasks:predictions_score"])
    assert project.save_view("Least certain first", ["tasks:predictions_score"]) == tab
    assert project.model_version() == ""
    project.show_predictions(VERSION)
    assert project.model_version() == VERSION
    listed = label_studio._get(f"/api/tasks?view={tab}")["tasks"]
    assert [task["id"] for task in listed] == sorted(tasks, key=lambda task: scores[task])


def test_no_task_of_a_tab_is_left_out_unsaid(label_studio: LabelStudio) -> None:
    """With PostgreSQL, pages of tasks that are equal in the tab's column overlap."""
    project, [first] = project_of(label_studio, "Equal", WIDE)
    image = label_studio.tasks(project.number)[0]["data"]["image"]
    label_studio._post(f"/api/projects/{project.number}/import", json=[{"image": image}] * 150)
    ids = [task["id"] for task in label_studio.tasks(project.number)]
    assert ids[0] == first
    assert len(ids) == 151
    project.add({task: predicted() for task in ids}, VERSION)
    tab = project.save_view("Tied", ["tasks:total_annotations"])
    try:
        found = project.predicted_tasks(VERSION, view=tab)
    except LabelStudioError as error:
        assert "sort the tab by ID" in str(error)
    else:
        assert [task.id for task in found] == ids
    assert project.save_view("Tied", ["tasks:id"]) == tab
    assert [task.id for task in project.predicted_tasks(VERSION, view=tab)] == ids


@pytest.mark.parametrize("connected", [False, True])
def test_who_submits_a_prediction_has_begun_with_it(
    label_studio: LabelStudio, page: Page, service: str, connected: bool
) -> None:
    project, [task] = project_of(label_studio, f"Reviewed {connected}", WIDE)
    if connected:
        label_studio.connect(project.number, service)
    project.add({task: predicted()}, VERSION)
    page.goto(f"{label_studio.url}/projects/{project.number}/data?task={task}")
    Editor(page, label_studio.url).submit()
    [reviewed] = project.annotated_tasks()
    annotation = reviewed.annotation
    [shown] = project.predicted_tasks(VERSION)
    assert annotation.prediction == shown.prediction
    assert annotation.saw_prediction
    # The editor keeps ids, by which the box and both polygons are one object.
    of = [region["id"] for region in shown.prediction.result]
    assert [region["id"] for region in annotation.result if "id" in region] == of
    [target] = read_label_config(CONFIG).images
    truth, found = (
        read_objects(result, target) for result in (annotation.result, shown.prediction.result)
    )
    assert truth.labels == found.labels == ("Circle",)
    np.testing.assert_allclose(truth.boxes, found.boxes, atol=1e-3)
    for ours, theirs in zip(truth.masks, found.masks, strict=True):
        assert ours is not None
        assert theirs is not None
        assert coco_area(ours) == pytest.approx(coco_area(theirs), rel=0.001)
    project.replace({task: predicted(0.9)}, VERSION)
    assert not project.annotated_tasks()[0].annotation.saw_prediction
    assert project.annotated_tasks(with_predictions=False)[0].annotation.prediction is None


def test_suggestions_that_are_accepted_keep_their_ids(
    label_studio: LabelStudio, editor: Editor, service: str
) -> None:
    project, [task] = project_of(label_studio, "Suggested", WIDE)
    label_studio.connect(project.number, service)
    editor.open(project.number, task)
    editor.auto_annotation()
    editor.ask("star")
    suggested = [region["id"] for region in editor.suggestions()]
    assert suggested
    editor.accept()
    editor.submit()
    [annotated] = project.annotated_tasks()
    kept = [region["id"] for region in annotated.result if region["type"] != "textarea"]
    assert sorted(kept) == sorted(suggested)
    assert annotated.annotation.parent_prediction is None
