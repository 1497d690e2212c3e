"""The command against a stand-in of Label Studio: from people's reviews to annotations and back."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from grounded_labeler.cli.accept import main
from grounded_labeler.label_studio_api import client
from grounded_labeler.label_studio_api.annotations import ACCEPTED
from tests.quality.reviewed_project import PERSON, PROJECT, VERSION, ReviewedProject, serve

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReviewedProject]:
    with serve() as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(client, "_PATIENCE_S", 2.0)
        yield server


@pytest.fixture
def run(
    project: ReviewedProject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run the command; its exit code, standard output in one line, and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*options: str) -> tuple[int, str, str]:
        code = main(["--project", str(PROJECT), *options])
        out, err = capsys.readouterr()
        return code, " ".join(out.split()), err

    return run


def review_many(project: ReviewedProject, count: int, score: float = 0.9) -> list[int]:
    """So many tasks with a circle, which people found right."""
    tasks = [project.predict(("Circle", score)) for _ in range(count)]
    for task in tasks:
        project.review(task)
    return tasks


def report_in(folder: Path) -> Any:
    [path] = folder.glob("accepted-*.json")
    return json.loads(path.read_text())


def test_what_reviews_vouch_for_is_accepted_and_the_rest_stays(
    project: ReviewedProject, run: Run, tmp_path: Path
) -> None:
    reviewed = review_many(project, 70)
    for _ in range(40):  # below 0.5 half of them are wrong
        reviewed.append(project.predict(("Circle", 0.4)))
        project.review(reviewed[-1], wrong=(0,) if len(reviewed) % 2 else ())
    certain = [project.predict(("Circle", 0.95)) for _ in range(5)]
    uncertain = project.predict(("Circle", 0.95), ("Circle", 0.3))
    other_label = project.predict(("Circle", 0.95), ("Square", 0.99))
    nothing = project.predict()
    code, out, err = run("--precision", "0.9")
    assert (code, err) == (0, "")
    assert "There is no tuned/tuned.json of project 7: no task is left out" in out
    assert "118 tasks with a prediction of demo-1, 110 reviews" in out
    assert re.search(r"Circle │ 110 │ 90 │ 0\.9000 │ 70 │ 70 │ 0\.9\d\d │ 7 │", out), out
    assert re.search(r"Square │ 0 │ 0 │ +│.*about \d+ more reviewed objects", out), out
    assert "5 tasks can be accepted, 3 tasks stay for people" in out
    assert "not about nothing being missed" in out
    assert "random sample of the project; `--sample N` draws one" in out
    assert project.writes == 0
    assert not (tmp_path / "accepted").exists()

    code, out, err = run("--precision", "0.9", "--apply")
    assert (code, err) == (0, "")
    assert "5 of 5 accepted" in out
    accepted = project.accepted()
    assert list(accepted) == certain
    for task, [annotation] in accepted.items():
        [prediction] = project.tasks[task]["predictions"]
        assert annotation["parent_prediction"] == prediction["id"]
        [region] = annotation["result"]
        [text] = region["meta"]["text"]
        assert re.fullmatch(rf"{ACCEPTED}: precision 0\.9, \d{{4}}-\d\d-\d\d", text)
        assert region["origin"] == "prediction"
        unmarked = {name: region[name] for name in prediction["result"][0]}
        assert unmarked == prediction["result"][0]
    assert not project.tasks[nothing]["annotations"] + project.tasks[uncertain]["annotations"]
    assert not project.tasks[other_label]["annotations"]
    [tab] = project.views
    assert tab["data"]["title"] == "Least certain first"
    assert tab["data"]["ordering"] == ["tasks:predictions_score"]
    assert tab["data"]["filters"]["items"] == [
        {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number",
         "value": 0}
    ]  # fmt: skip

    report = report_in(tmp_path / "accepted")
    assert report["promise"]["precision"] == 0.9
    assert report["promise"]["confidence"] == 0.95
    assert (report["model_version"], report["accepted_by"]) == (VERSION, "service@example.com")
    assert [one["task"] for one in report["reviews"]] == reviewed == report["sample"]["tasks"]
    assert sum(object_["right"] for one in report["reviews"] for object_ in one["objects"]) == 90
    assert report["accepted"] == [
        {"task": task, "annotation": one["id"], "prediction": one["parent_prediction"]}
        for task, [one] in accepted.items()
    ]

    code, out, _ = run("--precision", "0.9", "--apply")
    assert code == 0
    assert "0 tasks can be accepted, 3 tasks stay" in out
    assert project.accepted() == accepted


def test_who_is_stopped_in_the_middle_goes_on(project: ReviewedProject, run: Run) -> None:
    review_many(project, 60)
    waiting = [project.predict(("Circle", 0.95)) for _ in range(20)]
    project.refuse_after = 7
    code, _, err = run("--precision", "0.9", "--apply")
    assert code == 1
    assert "403" in err
    assert len(err.splitlines()) == 1
    assert len(project.accepted()) == 7
    project.refuse_after = None
    assert run("--precision", "0.9", "--apply")[0] == 0
    accepted = project.accepted()
    assert list(accepted) == waiting
    assert {len(own) for own in accepted.values()} == {1}


def test_what_was_accepted_is_revoked_but_not_what_people_changed(
    project: ReviewedProject, run: Run
) -> None:
    review_many(project, 60)
    first, second, third, fourth, fifth = [project.predict(("Circle", 0.95)) for _ in range(5)]
    run("--precision", "0.9", "--apply")
    accepted = project.accepted()
    project.change(accepted[first][0])
    project.change(accepted[second][0], user=1)  # by the token's user, but on a page
    project.tasks[third]["draft_exists"] = True
    accepted[fourth][0]["completed_by"] = PERSON  # accepted by the token of somebody else
    writes = project.writes
    code, out, err = run("--revoke")
    assert (code, err) == (0, "")
    assert "Accepted and as they were made: 1" in out
    assert "Left because people changed them, or are changing them: 3" in out
    assert "Left because another user accepted them, who can revoke them: 1" in out
    assert project.writes == writes
    code, out, _ = run("--revoke", "--apply")
    assert code == 0
    assert project.tasks[fifth]["annotations"] == []
    assert [len(project.tasks[task]["annotations"]) for task in (first, second, third, fourth)] == [
        1, 1, 1, 1,
    ]  # fmt: skip
    code, out, _ = run("--revoke", "--apply")
    assert code == 0
    assert "Accepted and as they were made: 0" in out
    # and can be accepted again
    assert run("--precision", "0.9", "--apply")[0] == 0
    assert len(project.tasks[fifth]["annotations"]) == 1


def test_accepted_predictions_are_no_reviews(project: ReviewedProject, run: Run) -> None:
    review_many(project, 60)
    accepted = [project.predict(("Circle", 0.95)) for _ in range(30)]
    run("--precision", "0.9", "--apply")
    # Who reviews what is left does not review a random sample.
    late = project.predict(("Circle", 0.2))
    project.review(late, wrong=(0,))
    _, out, _ = run("--precision", "0.9")
    assert "91 tasks with a prediction of demo-1, 60 reviews of them" in out
    assert "1 annotated task not counted: they are not of the review sample" in out
    assert len(accepted) == 30


def test_no_reviews(project: ReviewedProject, run: Run, tmp_path: Path) -> None:
    tasks = [project.predict(("Circle", 0.95)) for _ in range(3)]
    code, out, err = run("--precision", "0.97", "--apply")
    assert (code, err) == (0, "")
    assert "0 reviews" in out
    assert "about 99 more reviewed objects" in out
    assert "0 tasks can be accepted, 3 tasks stay" in out
    assert not project.accepted()
    assert not (tmp_path / "accepted").exists()
    assert all(not project.tasks[task]["annotations"] for task in tasks)


def test_all_wrong(project: ReviewedProject, run: Run) -> None:
    for _ in range(200):
        project.review(project.predict(("Circle", 0.95)), wrong=(0,))
    project.predict(("Circle", 0.99))
    code, out, _ = run("--precision", "0.9", "--apply")
    assert code == 0
    assert "right too seldom: no number of reviews is enough" in out
    assert not project.accepted()


def test_a_label_that_was_renamed_is_never_accepted(project: ReviewedProject, run: Run) -> None:
    review_many(project, 60)
    project.predict(("Circle", 0.99))
    project.label_config = project.label_config.replace('"Circle"', '"Disc"')
    code, out, _ = run("--precision", "0.9", "--apply")
    assert code == 0
    assert "60 annotated tasks not counted: a predicted region has no score, no label" in out
    assert not project.accepted()


def test_reviews_that_do_not_count_are_told(
    project: ReviewedProject, run: Run, tmp_path: Path
) -> None:
    tuned, unseen, redrawn, empty, cancelled, unscored = (
        project.predict(("Circle", 0.9)) for _ in range(6)
    )
    project.review(tuned)
    project.review(unseen, parent_prediction=None)
    project.review(redrawn)
    project.predict_again(redrawn, ("Circle", 0.9))
    project.tasks[empty]["predictions"][0]["result"] = []
    project.review(empty)
    project.review(cancelled, was_cancelled=True)
    del project.tasks[unscored]["predictions"][0]["result"][0]["score"]
    project.review(unscored)
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "tuned.json").write_text(json.dumps({"project": 7, "tasks": [tuned]}))
    code, out, _ = run("--precision", "0.9")
    assert code == 0
    assert "0 reviews" in out
    assert "There is no tuned" not in out
    for sentence in (
        "1 annotated task not counted: they chose thresholds or phrases.",
        "2 annotated tasks not counted: nobody began with the prediction as it is now.",
        "1 annotated task not counted: the prediction has no object.",
        "1 annotated task not counted: a predicted region has no score, no label of the label",
    ):
        assert sentence in out, sentence
    for other in ({"project": 8, "tasks": [tuned]}, {"project": None, "tasks": ["a.jpg"]}):
        (tmp_path / "tuned" / "tuned.json").write_text(json.dumps(other))
        _, out, _ = run("--precision", "0.9")
        assert "There is no tuned/tuned.json of project 7" in out
        assert "1 review of them" in out


def test_a_moved_box_is_wrong_by_the_overlap_asked_for(project: ReviewedProject, run: Run) -> None:
    for _ in range(60):
        project.change(project.review(project.predict(("Circle", 0.9))))  # IoU 0.6
    assert re.search(r"Circle │ 60 │ 60 │", run("--precision", "0.9")[1])
    assert re.search(r"Circle │ 60 │ 0 │", run("--precision", "0.9", "--iou", "0.7")[1])


def test_the_newest_version_is_taken_or_the_one_named(project: ReviewedProject, run: Run) -> None:
    review_many(project, 60)
    project.predict(("Circle", 0.95), version="demo-2")
    assert "1 task with a prediction of demo-2, 0 reviews" in run("--precision", "0.9")[1]
    _, out, _ = run("--precision", "0.9", "--model-version", VERSION)
    assert "60 tasks with a prediction of demo-1, 60 reviews" in out


def test_a_sample_is_drawn_into_a_tab_and_only_its_reviews_count(
    project: ReviewedProject, run: Run, tmp_path: Path
) -> None:
    easy = review_many(project, 60)
    tasks = [project.predict(("Circle", 0.9)) for _ in range(100)]
    project.predict()  # nothing that could be accepted
    code, out, _ = run("--sample", "50", "--seed", "3")
    assert code == 0
    assert "50 of 100 tasks drawn with --seed 3" in out
    assert project.writes == 0
    code, out, _ = run("--sample", "50", "--seed", "3", "--apply")
    assert code == 0
    assert "50 of 100 tasks" in out
    [tab] = project.views
    assert tab["data"]["ordering"] == ["tasks:id"]  # in which no two tasks are equal
    filters = tab["data"]["filters"]
    sample = [one["value"] for one in filters["items"]]
    assert filters["conjunction"] == "or"
    assert {(one["filter"], one["operator"]) for one in filters["items"]} == {
        ("filter:tasks:id", "equal")
    }
    assert len(set(sample)) == 50
    assert set(sample) <= set(tasks)
    for task in sample[:10]:
        project.review(task)
    _, out, _ = run("--precision", "0.9")
    assert "10 reviews" in out
    assert f"{len(easy)} annotated tasks not counted: they are not of the review sample" in out
    assert "40 of the 50 tasks of the review sample are not reviewed" in out
    # More are drawn beside those; the same tab has them.
    run("--sample", "10", "--apply")
    assert len(project.views) == 1
    larger = [one["value"] for one in project.views[0]["data"]["filters"]["items"]]
    assert len(larger) == 60
    assert set(sample) < set(larger)
    for task in larger:
        if not project.tasks[task]["annotations"]:
            project.review(task)
    code, out, _ = run("--precision", "0.9", "--apply")
    assert "40 tasks can be accepted" in out
    code, _, err = run("--sample", "10", "--apply")
    assert code == 1
    assert "run --revoke --apply first" in err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--precision", "0.9"), "Project 7 has no predictions: run `grounded-labeler preann"),
        (("--precision", "0.9", "--model-version", "x"), 'no predictions of the model version "x"'),
        (("--sample", "5"), "has no predictions"),
    ],
)
def test_a_project_without_predictions_is_one_sentence(
    run: Run, options: tuple[str, ...], sentence: str
) -> None:
    code, _, err = run(*options)
    assert code == 1
    assert sentence in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("tuned/tuned.json", "[1]", "does not say which tasks were tuned on"),
        ("tuned/tuned.json", '{"project": 7, "tasks": "all"}', "does not say which tasks"),
        ("accepted/sample.json", "{}", "is no review sample"),
    ],
)
def test_a_damaged_file_is_one_sentence(
    project: ReviewedProject, run: Run, tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    project.predict(("Circle", 0.9))
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(text)
    code, _, err = run("--precision", "0.9")
    assert code == 1
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_the_sample_of_another_project_is_refused(
    project: ReviewedProject, run: Run, tmp_path: Path
) -> None:
    project.predict(("Circle", 0.9))
    run("--sample", "1", "--apply")
    path = tmp_path / "accepted" / "sample.json"
    path.write_text(path.read_text().replace('"project": 7', '"project": 8'))
    code, _, err = run("--precision", "0.9")
    assert code == 1
    assert "is the review sample of project 8" in err


def test_a_region_without_a_shape_is_never_accepted(project: ReviewedProject, run: Run) -> None:
    review_many(project, 70)
    flat = project.predict(("Circle", 0.95), ("Circle", 0.95))
    project.tasks[flat]["predictions"][0]["result"][0]["value"]["width"] = 0
    certain = project.predict(("Circle", 0.95))
    assert run("--precision", "0.9", "--apply")[0] == 0
    assert list(project.accepted()) == [certain]


@pytest.mark.parametrize(
    ("option", "text", "sentence"),
    [
        *(("--precision", text, "at least 0.5 and less than 1") for text in ("1", "0.2", "nan")),
        ("--precision", "high", "it must be at least 0.5 and less than 1, not high"),
        ("--iou", "half", "it must be more than 0 and at most 1, not half"),
        ("--sample", "0", "it must be a whole number, at least 1, not 0"),
        ("--sample", "1.5", "it must be a whole number, at least 1, not 1.5"),
    ],
)
def test_what_no_option_can_be_is_refused(
    run: Run, capsys: pytest.CaptureFixture[str], option: str, text: str, sentence: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run(option, text)
    assert exit_.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_two_thousand_tasks(project: ReviewedProject, run: Run) -> None:
    for _ in range(300):
        project.review(project.predict(("Circle", 0.9), ("Star", 0.8)))
    for _ in range(1700):
        project.predict(("Circle", 0.95), ("Star", 0.85))
    code, out, err = run("--precision", "0.97", "--apply")
    assert (code, err) == (0, "")
    assert "1,700 tasks can be accepted, 0 tasks stay" in out
    assert "1,700 of 1,700 accepted" in out
    assert len(project.accepted()) == 1700
    assert "1,700 of 1,700 revoked" in run("--revoke", "--apply")[1]
    assert not project.accepted()
