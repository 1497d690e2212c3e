"""What counts as the same detections, and what does not."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from grounded_labeler.core.agreement import Agreement, compare_detections, compare_masks

BOXES = np.array([[10, 10, 110, 110], [200, 50, 300, 150], [20, 200, 60, 240]], np.float32)
SCORES = np.array([0.8, 0.6, 0.5], np.float32)
NOWHERE = np.full(4, np.nan, np.float32)
THRESHOLD = 0.4


def f32(values: list[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def compare(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    wanted: NDArray[np.float32] = BOXES,
    wanted_scores: NDArray[np.float32] = SCORES,
) -> Agreement:
    return compare_detections((boxes, scores), (wanted, wanted_scores), THRESHOLD)


def with_more(box: list[float], score: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    boxes = np.concatenate([BOXES, np.array([box], np.float32)])
    return boxes, np.append(SCORES, np.float32(score))


def test_the_same_detections_agree_in_any_order() -> None:
    order = [2, 0, 1]
    assert compare(BOXES[order], SCORES[order]) == Agreement(3, 0, 0, 1.0, 0.0)


def test_what_lies_within_the_tolerances_agrees() -> None:
    found = compare(BOXES + f32([0, 0, 0.5, 0.5]), SCORES + f32([0.015, -0.019, 0.0]))
    assert found.holds
    assert found.worst_iou == pytest.approx(1600 / 40.5**2, abs=1e-4)


@pytest.mark.parametrize("shift", [4.0, 40.0])
def test_a_box_elsewhere_is_missing_and_another_is_too_many(shift: float) -> None:
    boxes = BOXES.copy()
    boxes[0] += shift
    found = compare(boxes, SCORES)
    assert (found.missing, found.extra) == (1, 1)
    overlap = (100 - shift) ** 2
    assert found.worst_iou == pytest.approx(overlap / (20_000 - overlap), abs=1e-5)


def test_another_score_is_missing() -> None:
    found = compare(BOXES, SCORES + f32([0, 0.03, 0]))
    assert (found.missing, found.holds) == (1, False)
    assert found.worst_score_difference == pytest.approx(0.03, abs=1e-6)


@pytest.mark.parametrize(("score", "extra"), [(0.3, 0), (0.419, 0), (0.43, 1), (0.9, 1)])
def test_only_what_exceeds_the_threshold_is_too_many(score: float, extra: int) -> None:
    found = compare(*with_more([400, 400, 450, 450], score))
    assert (found.missing, found.extra) == (0, extra)


def test_one_candidate_stands_for_one_detection() -> None:
    wanted = np.concatenate([BOXES, BOXES[:1]])
    wanted_scores = np.append(SCORES, SCORES[:1])
    assert compare(BOXES, SCORES, wanted, wanted_scores).missing == 1
    found = compare(*with_more(BOXES[0].tolist(), 0.79), wanted, wanted_scores)
    assert found.holds
    assert not compare(*with_more(BOXES[0].tolist(), 0.79)).holds


def test_of_two_candidates_at_a_place_the_score_chooses() -> None:
    """A detector has many candidates of low score on each object."""
    found = compare(*with_more(BOXES[0].tolist(), 0.05))
    assert found == Agreement(3, 0, 0, 1.0, 0.0)


def test_of_a_box_that_was_not_published_only_the_score_counts() -> None:
    wanted = BOXES.copy()
    wanted[0] = NOWHERE
    assert compare(BOXES, SCORES, wanted).holds
    assert compare(BOXES, SCORES, np.stack([NOWHERE] * 3)).holds
    lower = compare(BOXES, SCORES - f32([0.1, 0, 0]), wanted)
    assert (lower.missing, lower.extra) == (1, 1)


@pytest.mark.parametrize("wanted", [0, 3])
def test_without_candidates_all_are_missing(wanted: int) -> None:
    found = compare(BOXES[:0], SCORES[:0], BOXES[:wanted], SCORES[:wanted])
    assert found == Agreement(wanted, wanted, 0)


def test_nothing_expected_means_nothing_found() -> None:
    assert compare(BOXES, SCORES, BOXES[:0], SCORES[:0]) == Agreement(0, 0, 3)


def test_candidates_that_are_no_numbers_agree_with_nothing() -> None:
    assert compare(np.full_like(BOXES, np.nan), SCORES).missing == 3
    assert compare(BOXES, np.full_like(SCORES, np.nan)).missing == 3


def masks(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    wanted: NDArray[np.float32] | None = BOXES,
) -> Agreement:
    return compare_masks((boxes, scores), (wanted, SCORES), max_difference=0.005)


def test_masks_agree_in_their_order() -> None:
    assert masks(BOXES, SCORES) == Agreement(3, 0, 0, 1.0, 0.0)
    assert masks(BOXES[::-1], SCORES).missing == 2
    assert masks(BOXES, SCORES + f32([0, 0.004, 0])).holds
    assert masks(BOXES, SCORES + f32([0, 0.006, 0])).missing == 1
    assert masks(np.stack([BOXES[0], f32([0.0] * 4), BOXES[2]]), SCORES).missing == 1


def test_masks_of_which_only_scores_are_known() -> None:
    found = masks(np.zeros_like(BOXES), SCORES, None)
    assert found == Agreement(3, 0, 0, None, 0.0)
    assert masks(BOXES, np.full_like(SCORES, np.nan), None).missing == 3
    nothing = (BOXES[:0], SCORES[:0])
    assert compare_masks(nothing, nothing, max_difference=0.1) == Agreement(0, 0, 0)


def test_several_comparisons_make_one() -> None:
    first, second = Agreement(3, 0, 1, 0.99, 0.01), Agreement(2, 1, 0, 0.4, None)
    assert Agreement.of_all([first, second]) == Agreement(5, 1, 1, 0.4, 0.01)
    assert Agreement.of_all([]) == Agreement(0, 0, 0)
    assert replace(first, extra=0).holds
