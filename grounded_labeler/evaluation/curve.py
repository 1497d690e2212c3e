"""Precision, recall and F1 over thresholds, and the best threshold for a goal."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.evaluation.types import FOUND, MISSED, WRONG

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class F1:
    """As good a balance of precision and recall as can be had: the highest F1."""


@dataclass(frozen=True)
class PrecisionAtLeast:
    """At least `floor` of what is found is right; of such thresholds, the one that finds most."""

    floor: float

    def __post_init__(self) -> None:
        _check_floor(self.floor)


@dataclass(frozen=True)
class RecallAtLeast:
    """At least `floor` of the objects are found; of such thresholds, the most precise one."""

    floor: float

    def __post_init__(self) -> None:
        _check_floor(self.floor)


Goal = F1 | PrecisionAtLeast | RecallAtLeast


@dataclass(frozen=True, eq=False)
class LabelScores:
    """Precision, recall and F1, each float64 in [0, 1], and NaN where there is nothing to count.

    The arrays have the shape of the counts that they are of, without its last axis: (T, L) for
    all labels over thresholds, (T,) for one label.
    """

    precision: Floats
    recall: Floats
    f1: Floats

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> Self:
        """Compute them from counts (..., 3), summed over images; the last axis as in `types`."""
        found, wrong, missed = counts[..., FOUND], counts[..., WRONG], counts[..., MISSED]
        return cls(
            _ratio(found, found + wrong),
            _ratio(found, found + missed),
            _ratio(2 * found, 2 * found + wrong + missed),
        )


def best_threshold(counts: NDArray[np.int64], thresholds: Floats, goal: Goal) -> float | None:
    """Return the threshold of those given that meets the goal best on these counts.

    Where neighbouring thresholds are equally good, it is the one in the middle of them: scores of
    other images will differ a little, to either side. The figure at the threshold is the best of
    many, so it is higher here than it will be on other images; `choice` has an honest one.

    Args:
        counts: int64 (T, 3), of one label, summed over images.
        thresholds: float64 (T,), rising.
        goal: what makes a threshold good.

    Returns:
        One of `thresholds`; None where none reaches the floor, or none finds anything right.
    """
    index = int(best_index(counts, thresholds, goal))
    return None if index < 0 else float(thresholds[index])


def best_index(counts: NDArray[np.int64], thresholds: Floats, goal: Goal) -> NDArray[np.intp]:
    """Return the index of the best threshold as `best_threshold` has it, for many counts at once.

    Args:
        counts: int64 (..., T, 3).
        thresholds: float64 (T,), rising.
        goal: what makes a threshold good.

    Returns:
        intp (...), -1 where there is none.
    """
    scores = LabelScores.of(counts)
    some = counts[..., FOUND] > 0
    match goal:
        case F1():
            best = _highest(scores.f1, some)
        case PrecisionAtLeast(floor):
            best = _highest(scores.recall, some & (scores.precision >= floor))
            best = _highest(scores.precision, best)
        case RecallAtLeast(floor):
            best = _highest(scores.precision, some & (scores.recall >= floor))
            best = _highest(scores.recall, best)
    return np.where(best.any(axis=-1), _middle(best, thresholds), -1)


def _check_floor(floor: float) -> None:
    if not 0 < floor <= 1:
        raise ValueError(f"a floor must be above 0 and at most 1, got {floor}")


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    ratio: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratio


def _highest(values: Floats, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of those `among` have the highest value along the last axis."""
    values = np.where(among, values, -np.inf)
    highest: NDArray[np.bool_] = among & (values == values.max(axis=-1, keepdims=True))
    return highest


def _middle(best: NDArray[np.bool_], thresholds: Floats) -> NDArray[np.intp]:
    """The index in the middle of the longest run of the best ones, by their thresholds."""
    places = np.arange(len(thresholds))
    # Where the run that a place is in began, and where it ends.
    first = np.maximum.accumulate(np.where(best, 0, places + 1), axis=-1)
    last = np.where(best, len(thresholds) - 1, places - 1)[..., ::-1]
    last = np.minimum.accumulate(last, axis=-1)[..., ::-1]
    first, last = np.where(best, first, 0), np.where(best, last, 0)
    low, high = thresholds[first], thresholds[last]
    # Rounded, as equal distances of decimal fractions differ in their last digits.
    longest = np.where(best, (high - low).round(9), -1.0).argmax(axis=-1)[..., None]
    middle = np.take_along_axis((low + high) / 2, longest, axis=-1)
    distance = abs(thresholds - middle).round(9)
    is_inside = first == np.take_along_axis(first, longest, axis=-1)
    return np.asarray(np.where(best & is_inside, distance, np.inf).argmin(axis=-1))
