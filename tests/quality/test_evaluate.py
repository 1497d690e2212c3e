"""Evaluation on drawn images with the demo models: planted faults of the truth show."""

import contextlib
import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grounded_labeler.core.types import Label
from grounded_labeler.demo.shapes import DrawnImage
from grounded_labeler.demo.shapes import Shape as DrawnShape
from grounded_labeler.errors import SettingsError
from grounded_labeler.evaluation.types import Truth
from grounded_labeler.label_studio.schema import Overrides
from grounded_labeler.preannotate.running import Running
from grounded_labeler.quality.candidates import Variant
from grounded_labeler.quality.evaluate import Measuring, evaluate
from grounded_labeler.quality.subject import Subject
from grounded_labeler.settings import Settings
from tests.quality.drawn import LABELS, draw, drawn_subject, label_of, truth_of
from tests.quality.test_candidates import CountingRunner

pytestmark = pytest.mark.slow

SETTINGS = Settings.from_env({"DETECTOR": "demo", "SEGMENTER": "demo"})
NAMES = [label.value for label in LABELS]


def figures(out: Path) -> Any:
    return json.loads((out / "evaluation.json").read_text())


def run(
    subject: Subject,
    out: Path,
    variant: Variant | None = None,
    runner: CountingRunner | None = None,
    measuring: Measuring | None = None,
) -> Any:
    running = Running(out, runner or CountingRunner())
    code = evaluate(subject, variant or Variant(), SETTINGS, running, measuring or Measuring())
    assert code == 0
    return figures(out)


def with_truth(
    subject: Subject, images: list[DrawnImage], change: Callable[[int, Truth], Truth]
) -> Subject:
    """The subject, of which people say something else."""
    truths = {
        task["id"]: change(place, truth_of(images[place]))
        for place, task in enumerate(subject.tasks)
    }
    return replace(subject, truth=lambda task, _target, _size: truths[task["id"]])


def only(truth: Truth, rows: list[int]) -> Truth:
    return Truth(
        truth.boxes[rows],
        tuple(truth.labels[row] for row in rows),
        tuple(truth.masks[row] for row in rows),
        truth.is_crowd[rows],
        truth.size_hw,
    )


def by_pycocotools(truth: Path, detections: Path, kind: str) -> list[float | None]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        evaluation = COCOeval(coco, coco.loadRes(str(detections)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [None if value == -1 else float(value) for value in evaluation.stats[:9]]


METRICS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")


def test_the_figures_are_those_of_pycocotools_on_the_files(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(12))
    out = tmp_path / "out"
    written = run(subject, out)
    boxes = by_pycocotools(out / "truth.json", out / "detections.json", "bbox")
    masks = by_pycocotools(out / "truth-masks.json", out / "detections-masks.json", "segm")
    assert [written["boxes"][name] for name in METRICS] == boxes
    assert [written["masks"][name] for name in METRICS] == masks
    assert written["boxes"]["ap50"] > 0.8
    assert json.loads((out / "truth.json").read_text())["images"][3]["file_name"] == "0003.png"
    rows = list(csv.reader((out / "labels.csv").open()))
    assert [row[0] for row in rows] == ["label", *NAMES, "(all together)"]
    assert float(rows[1][10]) == written["labels"][0]["recall"]["interval"]["low"]


def test_a_label_that_is_renamed_in_the_truth_shows_as_taken_for_it(tmp_path: Path) -> None:
    images = draw(20)
    renamed = [0]

    def name(shape: DrawnShape) -> str:
        own = label_of(shape)
        if own == "Star" and renamed[0] < 5:
            renamed[0] += 1
            return "Square"
        return own

    written = run(drawn_subject(tmp_path / "images", images, name=name), tmp_path / "out")
    table = written["confusion"]
    square, star = NAMES.index("Square"), NAMES.index("Star")
    assert table["names"] == NAMES
    assert table["counts"][square][star] >= 4
    assert table["counts"][star][square] == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "“Square” was taken for “Star”" in page


def test_an_object_that_the_truth_lacks_is_wrong_and_one_too_many_is_missed(tmp_path: Path) -> None:
    images = draw(10)
    subject = drawn_subject(tmp_path / "images", images)
    plain = run(subject, tmp_path / "out")["total"]

    def remove(place: int, truth: Truth) -> Truth:
        return only(truth, list(range(1, len(truth)))) if place < 4 else truth

    def add(place: int, truth: Truth) -> Truth:
        if place >= 3:
            return truth
        corner = np.array([[0, 0, 12, 12]], np.float32)
        return Truth(
            np.concatenate([truth.boxes, corner]),
            (*truth.labels, "Ring"),
            (*truth.masks, None),
            np.zeros(len(truth) + 1, np.bool_),
            truth.size_hw,
        )

    fewer = run(with_truth(subject, images, remove), tmp_path / "out")["total"]
    assert fewer["truths"] == plain["truths"] - 4
    assert fewer["wrong"] >= plain["wrong"] + 3
    more = run(with_truth(subject, images, add), tmp_path / "out")
    assert more["total"]["missed"] == plain["missed"] + 3
    assert more["without_mask"] == 3
    assert {one["task"] for one in more["worst"]} >= {"0000.png", "0001.png", "0002.png"}


def test_hard_negatives_are_wrong_where_they_are_detected(tmp_path: Path) -> None:
    """Only red circles are what people want; all circles are asked for."""
    images = draw(20)

    def red(place: int, truth: Truth) -> Truth:
        shapes = images[place].shapes
        return only(truth, [row for row, one in enumerate(shapes) if one.name == "red circle"])

    subject = with_truth(drawn_subject(tmp_path / "images", images, [Label("Circle")]), images, red)
    wide = run(subject, tmp_path / "out", Variant(prompt="circle -> Circle"))["total"]
    narrow = run(subject, tmp_path / "out", Variant(prompt="red circle -> Circle"))["total"]
    assert wide["found"] == wide["truths"] == narrow["truths"] > 0
    assert wide["precision"]["value"] < narrow["precision"]["value"]


def test_nothing_found_is_told_without_a_figure_for_it(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(3))
    strict = Variant(overrides=Overrides(box_threshold=1.0))
    written = run(subject, tmp_path / "out", strict)
    assert written["total"]["found"] == written["total"]["wrong"] == 0
    assert written["total"]["precision"] == {"value": None, "interval": None}
    assert written["total"]["recall"]["value"] == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Nothing was detected, so that precision is not defined." in page
    assert "nan" not in page.replace("Not a number", "").lower().split("base64")[0]


def test_truth_without_any_object_is_told(tmp_path: Path) -> None:
    images = draw(3)
    subject = drawn_subject(tmp_path / "images", images)
    subject = with_truth(subject, images, lambda _, truth: Truth.empty(truth.size_hw))
    written = run(subject, tmp_path / "out")
    assert written["boxes"]["ap"] is None
    assert written["total"]["recall"] == {"value": None, "interval": None}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The truth has no object of the labels that were looked for" in page


def test_one_label_is_measured_and_others_of_the_truth_are_named(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(6), [Label("Circle")])
    written = run(subject, tmp_path / "out")
    assert [one["label"] for one in written["labels"]] == ["Circle"]
    assert set(written["not_asked"]) == {"Square", "Triangle", "Star", "Ring"}
    assert written["total"]["missed"] <= written["total"]["truths"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "were not looked for" in page
    assert "“Circle” object" in page


def test_an_interrupted_evaluation_goes_on_and_sweeps_cost_no_run(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(20))
    with pytest.raises(KeyboardInterrupt):
        run(subject, tmp_path / "out", runner=CountingRunner(stop=17))
    assert not (tmp_path / "out" / "report.html").exists()
    rest, again = CountingRunner(), CountingRunner()
    written = run(subject, tmp_path / "out", runner=rest)
    assert 0 < rest.tasks < 20
    assert written["images"] == 20
    strict = Variant(overrides=Overrides(box_threshold=0.7))
    assert run(subject, tmp_path / "out", strict, again)["total"]["thresholds"] == [0.7]
    assert again.tasks == 0, "another threshold needs no run"
    assert run(subject, tmp_path / "whole")["labels"] == written["labels"]


def test_images_that_fail_are_listed_and_not_counted(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(3))
    (tmp_path / "images" / "0001.png").write_bytes(b"no image")
    running = Running(tmp_path / "out", CountingRunner())
    assert evaluate(subject, Variant(), SETTINGS, running, Measuring()) == 2
    written = figures(tmp_path / "out")
    assert written["images"] == 2
    assert list(written["failed"]) == ["0001.png"]
    assert (tmp_path / "out" / "failures.tsv").read_text().startswith("0001.png\t")
    assert "could not be measured" in (tmp_path / "out" / "report.html").read_text()


def test_masks_are_left_out_where_they_are_not_wanted(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(2))
    out = tmp_path / "out"
    assert run(subject, out)["masks"] is not None
    assert run(subject, out, measuring=Measuring(masks=False))["masks"] is None
    assert not (out / "truth-masks.json").exists()
    assert run(replace(subject, has_masks=False), out)["masks"] is None


def test_a_threshold_below_what_is_kept_is_refused(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(1))
    low = Variant(overrides=Overrides(box_threshold=0.02))
    with pytest.raises(SettingsError, match=r"pass --floor 0\.02"):
        run(subject, tmp_path / "out", low)
    assert run(subject, tmp_path / "out", low, measuring=Measuring(floor=0.02))["images"] == 1


def test_labels_are_escaped_whatever_they_hold(tmp_path: Path) -> None:
    nasty = ["<b>Circle</b>", "$\\alpha$_{x", "=1+1 & \"'", "_hidden"]
    labels = [Label(nasty[0], prompt="circle"), Label(nasty[1], prompt="square")]
    labels += [Label(nasty[2], prompt="star"), Label(nasty[3], prompt="ring")]
    names = dict(zip(("Circle", "Square", "Star", "Ring"), nasty, strict=True))

    def name(shape: DrawnShape) -> str:
        return names.get(label_of(shape), "</script><img src=x onerror=alert(1)>")

    subject = drawn_subject(tmp_path / "images", draw(6), labels, name)
    written = run(subject, tmp_path / "out")
    assert [one["label"] for one in written["labels"]] == nasty
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>Circle" not in page
    assert "<img src=x" not in page
    assert "&lt;b&gt;Circle&lt;/b&gt;" in page
