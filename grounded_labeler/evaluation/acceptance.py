"""The score from which predictions may be accepted unseen, with a promise of their precision.

People reviewed some predictions of a label; others they will never see. From the reviewed ones a
threshold is computed such that among all predictions at or above it, reviewed or not, at least
the promised part is right. The promise is about the procedure: in at most 1 - `confidence` of all
projects the threshold is too low. It is about the mean over predictions, not about each one.

It holds on three conditions. The reviewed images were drawn by chance from those that the
threshold is used on. Images are independent of one another; what is in one image need not be.
The reviewed predictions chose nothing else before, neither prompt nor threshold.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import Scores
from grounded_labeler.evaluation.intervals import lower_bound
from grounded_labeler.evaluation.search import smallest

# The first threshold is one that passes with so many predictions wrong. With fewer, one mistake
# among the best would end the search; with more, the first threshold is lower than it need be.
_SPARE = 2
# Each threshold after it accepts so much more than the one before. Finer steps pass little more.
_GROWTH = 1.1
# A smaller part of the reviewed predictions says too little of what more reviews would show.
_LEAST_PART = 0.1
# More reviews than this nobody does.
_MOST = 10**9


@dataclass(frozen=True)
class Acceptance:
    """What may be accepted of one label.

    Attributes:
        threshold: the least score to accept, in [0, 1]; None where nothing can be promised yet.
        accepted: how many reviewed predictions have that score or a higher one.
        right: how many of those were right.
        bound: their precision is at least this, at the confidence asked for: the promised
            precision or more. None without a threshold.
        needed: about how many more predictions of this label people must review until a threshold
            can be promised, if these are right as often as those seen so far (all of them, where
            none was seen); 0 with a threshold. None where those seen were right too seldom for
            any number of reviews to be enough: however high the score, if a tenth of the
            predictions is to have it, the precision seen is not above the promised one.
    """

    threshold: float | None
    accepted: int
    right: int
    bound: float | None
    needed: int | None


def acceptance_threshold(
    scores: Scores,
    right: NDArray[np.bool_],
    groups: NDArray[np.intp],
    *,
    precision: float,
    confidence: float = 0.95,
) -> Acceptance:
    """Find the lowest score above which reviewed predictions were right often enough.

    To try every score and keep the lowest that looks good would break the promise far too often,
    as one of many looks good by chance. So thresholds are tested in a fixed order, from the
    strictest down, and the first that fails ends the search: then the chance of any mistake is
    that of a single test (fixed-sequence testing in Angelopoulos et al. 2021, "Learn then Test",
    https://arxiv.org/abs/2110.01052). The order depends on scores and images alone, never on what
    is right. Each test asks whether the bound of Clopper & Pearson reaches `precision`, on the
    effective sample size (Korn & Graubard 1998, "Confidence intervals for proportions with small
    expected number of positive counts estimated from survey data"): mistakes that come together
    in few images prove less than as many in different ones. Where too few mistakes were seen to
    tell, the predictions of an image are taken to be right or wrong together. That size is an
    estimate: the promise is exact where each image has one prediction; where images have more,
    simulations in the tests show that it holds.

    Args:
        scores: float32 (N,), of the reviewed predictions of one label.
        right: bool (N,), whether people left the prediction as it was.
        groups: intp (N,), the image that a prediction is in.
        precision: the promised one, in (0, 1).
        confidence: in (0, 1). To be right about all L labels of a project at once with 0.95, pass
            1 - 0.05 / L (Bonferroni).
    """
    if not 0 < precision < 1 or not 0 < confidence < 1:
        raise ValueError("precision and confidence must be above 0 and below 1")
    if not len(scores) == len(right) == len(groups):
        raise ValueError("scores, right and groups must have the same length")
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], right[order]
    images = np.unique(groups[order], return_inverse=True)[1]

    best = Acceptance(None, 0, 0, None, 0)
    for size in _sizes(scores, images, precision, confidence):
        bound = _bound(right[:size], images[:size], confidence)
        if bound < precision:
            break
        count = int(right[:size].sum())
        best = Acceptance(float(scores[size - 1]), size, count, bound, 0)
    if best.threshold is not None:
        return best
    return Acceptance(None, 0, 0, None, _needed(right, images, precision, confidence))


def _sizes(
    scores: Scores, images: NDArray[np.intp], precision: float, confidence: float
) -> Iterator[int]:
    """How many of the best predictions each threshold to test accepts, the fewest first.

    A threshold accepts all predictions of its score, so only ends of ties are thresholds.
    """
    ends = np.flatnonzero(np.diff(scores, append=-np.inf)) + 1
    all_right = np.ones(len(scores), np.bool_)
    for spare in range(_SPARE, -1, -1):
        least = _least_total(spare, precision, confidence)
        for start in _growing(ends, least, 1.01):
            if start / _design_effect(all_right[:start], images[:start]) >= least:
                yield from _growing(ends, start, _GROWTH)
                return


def _growing(ends: NDArray[np.intp], start: int, growth: float) -> Iterator[int]:
    """The first of the rising `ends` from `start` on, each by so much above the one before it."""
    size = start
    while len(ends) and size <= ends[-1]:
        end = int(ends[np.searchsorted(ends, size)])
        yield end
        size = end + 1 if end == ends[-1] else min(max(end + 1, int(end * growth)), int(ends[-1]))


def _least_total(wrong: int, precision: float, confidence: float) -> int:
    """How many independent predictions pass with so many wrong ones among them."""
    right = smallest(
        lambda right: lower_bound(right, right + wrong, confidence) >= precision, limit=_MOST
    )
    return _MOST if right is None else right + wrong


def _alike(images: NDArray[np.intp]) -> float:
    """The design effect where all predictions of an image are right or wrong together (Kish)."""
    sizes = np.bincount(images)
    return float((sizes * sizes).sum() / sizes.sum())


def _design_effect(right: NDArray[np.bool_], images: NDArray[np.intp]) -> float:
    """How many predictions prove as much as one independent one would; at least 1.

    It is the variance of the proportion over images, as that of a ratio, over the variance that
    independent predictions would have. It is computed with one more image, of the mean size, in
    which all is wrong: without it, data with few mistakes would pass for independent.
    """
    size = _alike(images)
    sizes = np.append(np.bincount(images), size)
    wrong = np.append(np.bincount(images, ~right), size)
    used = sizes > 0
    sizes, wrong = sizes[used], wrong[used]
    total, rate = sizes.sum(), wrong.sum() / sizes.sum()
    if rate == 1:
        return size
    spread = ((wrong - rate * sizes) ** 2).sum() * len(sizes) / (len(sizes) - 1)
    independent = total * rate * (1 - rate) * total / (total - 1)
    # Rounded, so that rounding itself never makes single predictions count as less than one.
    return max(1.0, round(float(spread / independent), 9))


def _bound(right: NDArray[np.bool_], images: NDArray[np.intp], confidence: float) -> float:
    effect = _design_effect(right, images)
    return lower_bound(right.sum() / effect, len(right) / effect, confidence)


def _needed(
    right: NDArray[np.bool_], images: NDArray[np.intp], precision: float, confidence: float
) -> int | None:
    """About how many more reviews a promise needs; see `Acceptance`.

    Of more reviews, the same part would lie above a threshold as of those seen.
    """
    reviewed = len(right)
    if not reviewed:
        return _least_total(0, precision, confidence)
    least = max(1, int(reviewed * _LEAST_PART))
    totals = []
    for size in np.unique(np.geomspace(least, reviewed, 30).astype(int)).tolist():
        rate = float(right[:size].mean())
        if rate > precision and (total := _total_at(rate, precision, confidence)):
            effect = _design_effect(right[:size], images[:size])
            totals.append(math.ceil(total * effect * reviewed / size))
    return max(1, min(totals) - reviewed) if totals else None


def _total_at(rate: float, precision: float, confidence: float) -> int | None:
    """How many independent predictions that are right at this rate pass; None for too many."""
    return smallest(
        lambda total: lower_bound(rate * total, total, confidence) >= precision, limit=_MOST
    )
