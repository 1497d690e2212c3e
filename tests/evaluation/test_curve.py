"""Curves over thresholds, and which threshold is best for which goal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from grounded_labeler.evaluation.curve import (
    F1,
    Goal,
    LabelScores,
    PrecisionAtLeast,
    RecallAtLeast,
    best_index,
    best_threshold,
)
from grounded_labeler.evaluation.intervals import f1, precision, recall

FIVE = np.array([0.1, 0.2, 0.3, 0.4, 0.5])


def counts(*rows: tuple[int, int, int]) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(-1, 3)


def test_scores_are_those_of_single_counts_and_nan_where_there_are_none() -> None:
    rows = [(3, 1, 3), (0, 0, 0), (0, 2, 0), (0, 0, 4), (5, 0, 0)]
    scores = LabelScores.of(counts(*rows).reshape(1, 5, 3))
    assert scores.f1.shape == (1, 5)
    for place, (found, wrong, missed) in enumerate(rows):
        expected = (precision(found, wrong), recall(found, missed), f1(found, wrong, missed))
        for ours, theirs in zip(
            (scores.precision, scores.recall, scores.f1), expected, strict=True
        ):
            assert ours[0, place] == pytest.approx(
                np.nan if theirs is None else theirs, nan_ok=True
            )


@pytest.mark.parametrize(
    ("rows", "goal", "expected"),
    [
        pytest.param([(8, 8, 2), (8, 4, 2), (7, 1, 3), (5, 0, 5), (1, 0, 9)], F1(), 0.3, id="F1"),
        pytest.param([(8, 8, 2), *[(8, 2, 2)] * 3, (1, 0, 9)], F1(), 0.3, id="middle of equals"),
        pytest.param([(8, 2, 2)] * 2 + [(1, 9, 9)] + [(8, 2, 2)] * 2, F1(), 0.1, id="first run"),
        pytest.param([(8, 2, 2), (1, 9, 9)] + [(8, 2, 2)] * 3, F1(), 0.4, id="longest run"),
        pytest.param([(0, 5, 3)] * 5, F1(), None, id="nothing right"),
        pytest.param([(0, 0, 0)] * 5, F1(), None, id="nothing there"),
        pytest.param(
            [(9, 9, 1), (9, 3, 1), (8, 1, 2), (7, 0, 3), (2, 0, 8)],
            PrecisionAtLeast(0.88),
            0.3,
            id="the most found of the precise",
        ),
        pytest.param(
            [(9, 9, 1), (8, 1, 2), (8, 0, 2), (8, 0, 2), (0, 0, 10)],
            PrecisionAtLeast(0.8),
            0.3,
            id="of the same recall the more precise",
        ),
        pytest.param([(9, 9, 1)] * 5, PrecisionAtLeast(0.9), None, id="none precise"),
        pytest.param([(0, 0, 9)] * 5, PrecisionAtLeast(0.9), None, id="nothing is not precise"),
        pytest.param(
            [(10, 9, 0), (9, 3, 1), (9, 2, 1), (8, 1, 2), (7, 0, 3)],
            RecallAtLeast(0.9),
            0.3,
            id="the most precise that find enough",
        ),
        pytest.param([(5, 0, 5)] * 5, RecallAtLeast(0.9), None, id="none finds enough"),
    ],
)
def test_best_threshold(
    rows: list[tuple[int, int, int]], goal: Goal, expected: float | None
) -> None:
    assert best_threshold(counts(*rows), FIVE, goal) == expected


def test_the_middle_is_that_of_thresholds_not_of_their_places() -> None:
    thresholds = np.array([0.1, 0.11, 0.12, 0.4, 0.7])
    assert best_threshold(counts(*[(8, 2, 2)] * 5), thresholds, F1()) == 0.4


@given(st.integers(0, 2**32 - 1))
def test_many_at_once_are_as_each_alone(seed: int) -> None:
    many = np.random.default_rng(seed).integers(0, 4, (6, 5, 3))
    for goal in (F1(), PrecisionAtLeast(0.6), RecallAtLeast(0.6)):
        indices = best_index(many, FIVE, goal)
        assert indices.shape == (6,)
        for of_one, index in zip(many, indices.tolist(), strict=True):
            expected = None if index < 0 else FIVE[index]
            assert best_threshold(of_one, FIVE, goal) == expected


@pytest.mark.parametrize("floor", [0.0, -1, 1.01])
def test_a_floor_is_a_proportion(floor: float) -> None:
    for goal in (PrecisionAtLeast, RecallAtLeast):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            goal(floor)
