"""How far a proportion that was counted may lie from the true one.

Whoever counts 90 of 100 does not know that the rate is 0.9: 100 others would have given another
count. An interval says which rates are plausible. At a confidence of 0.95, such intervals contain
the true rate in about 95 of 100 projects; that says nothing about a single image. All of them
take the objects counted to be independent and to be drawn as those are that the rate is for:
objects of one image are alike, so with many objects per image the truth is less certain than the
interval says.
"""

from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri

from grounded_labeler.evaluation.search import smallest

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both included."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, eq=False)
class Intervals:
    """Many intervals: float64 arrays of one shape."""

    low: Floats
    high: Floats


def precision(found: int, wrong: int) -> float | None:
    """The part of the detections that are right, in [0, 1]; None without detections."""
    return found / (found + wrong) if found + wrong else None


def recall(found: int, missed: int) -> float | None:
    """The part of the objects that are found, in [0, 1]; None without objects."""
    return found / (found + missed) if found + missed else None


def f1(found: int, wrong: int, missed: int) -> float | None:
    """The harmonic mean of precision and recall, in [0, 1]; None where nothing was counted."""
    total = 2 * found + wrong + missed
    return 2 * found / total if total else None


@overload
def wilson(successes: float, total: float, confidence: float = 0.95) -> Interval: ...
@overload
def wilson(
    successes: NDArray[np.number], total: NDArray[np.number], confidence: float = 0.95
) -> Intervals: ...
def wilson(
    successes: ArrayLike, total: ArrayLike, confidence: float = 0.95
) -> Interval | Intervals:
    """Return the Wilson score interval of a proportion, two-sided; (0, 1) where `total` is 0.

    On average over the rates it contains the true one as often as `confidence` says, and never
    reaches below 0 or over 1 (Brown, Cai & DasGupta 2001, "Interval estimation for a binomial
    proportion"). For a promise, which must never hold too seldom, use `lower_bound`.

    Args:
        successes: how many had the property; a number, or an array of any shape.
        total: of how many; need not be whole.
        confidence: in (0, 1).
    """
    k, n = np.asarray(successes, np.float64), np.asarray(total, np.float64)
    if (k < 0).any() or (k > n).any():
        raise ValueError("successes must be between 0 and total")
    z = float(ndtri((1 + confidence) / 2))
    some = np.where(n > 0, n, 1)
    rate = k / some
    middle = rate + z * z / (2 * some)
    half = z * np.sqrt(rate * (1 - rate) / some + z * z / (4 * some * some))
    scale = 1 + z * z / some
    # At the ends the exact value is known, and rounding must not leave it outside.
    low = np.where((n > 0) & (k > 0), (middle - half) / scale, 0.0)
    high = np.where((n > 0) & (k < n), (middle + half) / scale, 1.0)
    if low.ndim == 0:
        return Interval(float(low), float(high))
    return Intervals(low, high)


def f1_interval(found: int, wrong: int, missed: int, confidence: float = 0.95) -> Interval:
    """Return an interval of F1; (0, 1) where nothing was counted.

    F1 is not a proportion, but 2J / (1 + J) of one: J, the Jaccard index, is the part that is
    found among all that was found, wrong or missed. So this is the Wilson interval of J, mapped.
    """
    of_jaccard = wilson(found, found + wrong + missed, confidence)
    return Interval(*(2 * end / (1 + end) for end in (of_jaccard.low, of_jaccard.high)))


def lower_bound(successes: float, total: float, confidence: float = 0.95) -> float:
    """Return the one-sided bound of Clopper & Pearson (1934): the rate is hardly below it.

    Whatever the true rate, in at most 1 - `confidence` of all samples the bound lies above it.
    That holds for one bound that was chosen before its sample was seen; who takes the best of
    many bounds is wrong more often (see `acceptance`).

    Args:
        successes: how many had the property.
        total: of how many. Both need not be whole: samples whose observations are not
            independent count as the smaller effective sample size.
        confidence: in (0, 1).
    """
    if not 0 <= successes <= total:
        raise ValueError("successes must be between 0 and total")
    if successes == 0:
        return 0.0
    return float(betaincinv(successes, total - successes + 1, 1 - confidence))


def more_to_halve(successes: float, total: float, confidence: float = 0.95) -> int:
    """How many more observations at the same rate would halve the Wilson interval's width.

    Without any, the rate is taken to be 1/2, which needs the most.
    """
    goal = wilson(successes, total, confidence).width / 2
    rate = successes / total if total else 0.5

    def is_enough(more: int) -> bool:
        return wilson(rate * (total + more), total + more, confidence).width <= goal

    enough = smallest(is_enough)
    if enough is None:
        raise ValueError(
            f"{total} observations are too many to count what would halve their interval"
        )
    return enough
