"""Matching detections with objects: the same pairs as pycocotools finds, and what follows."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from grounded_labeler.core.types import Boxes
from grounded_labeler.evaluation.matching import confusion, count_labels, match
from grounded_labeler.evaluation.types import FOUND, MISSED, WRONG
from tests.evaluation.scenes import boxes, chance_scene, found, truth

LABELS = ("car", "person", "dog")
A, B, FAR = (0, 0, 20, 20), (10, 0, 30, 20), (100, 100, 120, 120)


def test_nothing() -> None:
    none = match(boxes(), boxes())
    assert len(none.truth_of) == len(none.missed) == 0
    nothing_found = match(boxes(), boxes(A))
    assert nothing_found.missed.tolist() == [True]
    nothing_there = match(boxes(A), boxes())
    assert nothing_there.wrong.tolist() == [True]
    assert nothing_there.truth_of.dtype == np.intp
    assert nothing_there.iou.dtype == np.float32


@pytest.mark.parametrize(
    ("found_boxes", "truth_boxes", "truth_of"),
    [
        pytest.param(boxes(A, A), boxes(A), [0, -1], id="the second one is too much"),
        pytest.param(boxes(A, B), boxes(B, A), [1, 0], id="the highest overlap, not the first"),
        pytest.param(boxes((0, 0, 10, 20)), boxes(A), [0], id="exactly half is enough"),
        pytest.param(boxes((0, 0, 9.99, 20)), boxes(A), [-1], id="less than half is not"),
        pytest.param(boxes(FAR), boxes(A), [-1], id="elsewhere"),
    ],
)
def test_match(found_boxes: Boxes, truth_boxes: Boxes, truth_of: list[int]) -> None:
    assert match(found_boxes, truth_boxes).truth_of.tolist() == truth_of


def test_a_crowd_takes_any_number_and_only_what_found_no_object() -> None:
    crowd = (0, 0, 100, 100)
    matching = match(
        boxes(A, A, (40, 40, 50, 50), (90, 90, 119, 119)),
        boxes(crowd, A),
        is_crowd=np.array([True, False]),
    )
    assert matching.truth_of.tolist() == [1, -1, -1, -1]
    assert matching.ignored.tolist() == [False, True, True, False]
    assert matching.right.tolist() == [True, False, False, False]
    assert matching.wrong.tolist() == [False, False, False, True]
    assert matching.iou[:3].tolist() == [1, 1, 1]
    assert not matching.missed.any()


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.75]))
def test_pairs_are_those_of_pycocotools(seed: int, min_iou: float) -> None:
    there, seen = chance_scene(np.random.default_rng(seed), ("car",))
    matching = match(seen.boxes, there.boxes, min_iou=min_iou, is_crowd=there.is_crowd)

    coco, results = COCO(), COCO()
    head = {"images": [{"id": 1}], "categories": [{"id": 1}]}
    coco.dataset = head | {"annotations": _annotations(there.boxes, crowd=there.is_crowd)}
    results.dataset = head | {"annotations": _annotations(seen.boxes, scores=seen.scores)}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        results.createIndex()
        evaluation = COCOeval(coco, results, "bbox")
        evaluation.params.iouThrs = np.array([min_iou])
        evaluation.evaluate()
    theirs = evaluation.evalImgs[0]
    if theirs is None:
        assert len(there) == len(seen) == 0
        return
    taken, ignored = theirs["dtMatches"][0], theirs["dtIgnore"][0]
    np.testing.assert_array_equal(matching.ignored, ignored)
    np.testing.assert_array_equal(matching.truth_of, np.where(ignored, -1, taken - 1))


def _annotations(
    rows: Boxes,
    *,
    crowd: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None,
    scores: np.ndarray[tuple[int], np.dtype[np.float32]] | None = None,
) -> list[dict[str, object]]:
    return [
        {
            "id": place + 1,
            "image_id": 1,
            "category_id": 1,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": 0 if crowd is None else int(crowd[place]),
            "score": 0 if scores is None else float(scores[place]),
        }
        for place, (x0, y0, x1, y1) in enumerate(rows.tolist())
    ]


def test_count_labels() -> None:
    counts = count_labels(
        found(("car", A), ("dog", B), ("car", FAR), ("a phrase", FAR)),
        truth(("car", A), ("person", B), ("cat", A)),
        LABELS,
    )
    assert counts.dtype == np.int64
    assert counts.tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert count_labels(found(), truth(), LABELS).tolist() == [[0, 0, 0]] * 3


def test_only_a_crowd_of_its_own_label_excuses_a_detection() -> None:
    there = truth(("car", (0, 0, 100, 100)), crowds=1)
    assert count_labels(found(("car", A), ("dog", B)), there, LABELS).tolist() == [
        [0, 0, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]


def test_a_renamed_label_is_one_cell() -> None:
    there = truth(("vehicle", A), ("vehicle", B), ("vehicle", FAR))
    table = confusion(found(("car", A), ("car", B), ("car", FAR)), there, ("car", "vehicle"))
    assert table.tolist() == [[0, 0, 0], [3, 0, 0], [0, 0, 0]]


def test_the_right_label_is_preferred_though_another_scores_more() -> None:
    table = confusion(found(("dog", A), ("car", A)), truth(("car", A)), ("car", "dog"))
    assert table.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


@given(st.integers(0, 2**32 - 1))
def test_rows_and_columns_of_the_confusion_table_are_the_counts(seed: int) -> None:
    there, seen = chance_scene(np.random.default_rng(seed), (*LABELS, "other"), most=10)
    table, counts = confusion(seen, there, LABELS), count_labels(seen, there, LABELS)
    diagonal = table.diagonal()[:-1]
    np.testing.assert_array_equal(diagonal, counts[:, FOUND])
    np.testing.assert_array_equal(table[:-1].sum(axis=1) - diagonal, counts[:, MISSED])
    np.testing.assert_array_equal(table[:, :-1].sum(axis=0) - diagonal, counts[:, WRONG])
    assert table[-1, -1] == 0
