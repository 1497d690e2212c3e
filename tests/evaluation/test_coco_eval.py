"""COCO's metrics: those that pycocotools computes from the written files."""

import contextlib
import io
import json
from dataclasses import astuple, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from grounded_labeler.evaluation.coco_eval import Kind, coco_metrics, coco_results, coco_truth
from grounded_labeler.evaluation.types import Found, Truth
from tests.evaluation.scenes import SIZE_HW, boxes, chance_scene, found, truth

LABELS = ("car", "person", "dog")
A, B = (0, 0, 20, 20), (40, 40, 80, 80)
Images = list[tuple[Truth, Found]]


def of_the_files(images: Images, labels: tuple[str, ...], kind: Kind) -> list[float]:
    """The figures that pycocotools computes from files, -1 for those that are undefined."""
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        truth_file, results_file = Path(folder, "truth.json"), Path(folder, "results.json")
        truth_file.write_text(json.dumps(coco_truth([t for t, _ in images], labels, kind=kind)))
        results_file.write_text(json.dumps(coco_results([f for _, f in images], labels, kind=kind)))
        coco = COCO(str(truth_file))
        evaluation = COCOeval(coco, coco.loadRes(str(results_file)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        figures: list[float] = evaluation.stats[:9].tolist()
        for id in coco.getCatIds():
            evaluation.params.catIds = [id]
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            figures += evaluation.stats[:2].tolist()
        return figures


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("labels", [LABELS, ("car",)])
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5))
@example(seed=0, count=30)
def test_figures_are_those_of_pycocotools_on_the_files(
    kind: Kind, labels: tuple[str, ...], seed: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    images = [chance_scene(rng, (*labels, "other")) for _ in range(count)]
    if not coco_results([f for _, f in images], labels, kind=kind):
        return  # pycocotools cannot read such a file; see below
    metrics = coco_metrics(images, labels, kind=kind)
    *overall, of_labels = (getattr(metrics, name) for name in metrics.__dataclass_fields__)
    ours = overall + [figure for each in of_labels for figure in (each.ap, each.ap50)]
    assert [-1 if figure is None else figure for figure in ours] == of_the_files(
        images, labels, kind
    )
    assert [each.label for each in of_labels] == list(labels)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_a_perfect_detector(kind: Kind) -> None:
    metrics = coco_metrics(
        [(truth(("car", A), ("dog", B)), found(("car", A), ("dog", B)))], LABELS, kind=kind
    )
    assert metrics.ap == pytest.approx(1)
    assert metrics.ar100 == 1
    assert metrics.ap_small == pytest.approx(1)
    assert metrics.ap_large is None
    assert [each.ap50 for each in metrics.labels] == [pytest.approx(1), None, pytest.approx(1)]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_nothing_found_is_0_and_no_truth_is_none(kind: Kind) -> None:
    missed = coco_metrics([(truth(("car", A)), found())], LABELS, kind=kind)
    assert (missed.ap, missed.ar100, missed.ap_large) == (0, 0, None)
    assert [each.ap for each in missed.labels] == [0, None, None]
    no_truth = coco_metrics([(Truth.empty(SIZE_HW), found(("car", A)))], LABELS, kind=kind)
    for metrics in (no_truth, coco_metrics([], LABELS, kind=kind)):
        assert astuple(replace(metrics, labels=())) == (*[None] * 9, ())
    assert coco_metrics([], (), kind=kind).labels == ()


def test_areas_are_those_of_masks_and_objects_without_masks_have_no_part_in_segm() -> None:
    there = truth(("car", A), ("car", B))
    there = replace(there, masks=(there.masks[0], None))
    assert [each["area"] for each in coco_truth([there], LABELS, kind="bbox")["annotations"]] == [
        400,
        1600,
    ]
    assert len(coco_truth([there], LABELS, kind="segm")["annotations"]) == 1
    only_boxes = Found(boxes(A), np.ones(1, np.float32), ("car",))
    with pytest.raises(ValueError, match="must have masks"):
        coco_metrics([(there, only_boxes)], LABELS, kind="segm")
    none = Found(boxes(), np.zeros(0, np.float32), ())
    assert coco_metrics([(there, none)], LABELS, kind="segm").ap == 0


def test_nothing_is_printed_and_names_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    coco_metrics([(truth(("car", A)), found(("car", A)))], LABELS, kind="bbox")
    assert capsys.readouterr() == ("", "")
    document = coco_truth([truth(), truth()], LABELS, kind="bbox", file_names=["a.png", "b.png"])
    assert [(each["id"], each["file_name"]) for each in document["images"]] == [
        (1, "a.png"),
        (2, "b.png"),
    ]
    with pytest.raises(ValueError, match="zip"):
        coco_truth([truth()], LABELS, kind="bbox", file_names=[])
