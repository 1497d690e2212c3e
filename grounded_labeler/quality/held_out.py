"""What a choice is worth on images that did not make it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.evaluation.bootstrap import resampled_sums
from grounded_labeler.evaluation.curve import (
    F1,
    Goal,
    LabelScores,
    PrecisionAtLeast,
    RecallAtLeast,
    best_index,
)
from grounded_labeler.evaluation.types import FOUND, MISSED

FOLDS = 5
_SAMPLES = 2000
_STEPS = 8  # from a floor to 1, in which a stricter one is looked for
_SEED = 17  # a choice among the same images must be the same each time

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Folds = NDArray[np.intp]


@dataclass(frozen=True)
class Gain:
    """How much better one way is than another on the same images, from `low` to `high`.

    `difference` is of F1, or of recall where a floor of precision is the goal, or of precision
    where one of recall is. The interval is a paired bootstrap's over whole images.
    """

    difference: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether noise does not explain it."""
        return self.low > 0


def deal(has_label: NDArray[np.bool_], folds: int, rng: np.random.Generator) -> Folds:
    """Deal images into folds, so that each gets its share of the images of every label.

    Args:
        has_label: bool (I, L), which labels are in which images.
        folds: how many; at most as many as there are images are used.
        rng: what shuffles.

    Returns:
        intp (I,), the fold of each image.
    """
    images, labels = has_label.shape
    # An image counts as one of its rarest label: common ones are spread anyway.
    rarity = np.where(has_label, has_label.sum(axis=0), images + 1)
    rarest = rarity.argmin(axis=1) if labels else np.zeros(images, np.intp)
    rarest = np.where(has_label.any(axis=1), rarest, labels)
    shuffled = rng.permutation(images)
    order = shuffled[np.argsort(rarest[shuffled], kind="stable")]
    fold_of = np.empty(images, np.intp)
    fold_of[order] = np.arange(images) % max(1, min(folds, images))
    return fold_of


def choose_index(counts: Ints, thresholds: Floats, goal: Goal) -> int:
    """Return the index of the threshold that meets the goal on other images, too; -1 for none.

    Args:
        counts: int64 (I, T, 3), of one label in each image.
        thresholds: float64 (T,), rising.
        goal: what makes a threshold good.
    """
    stricter = goal_among(counts, thresholds, goal)
    if stricter is None:
        return -1
    return int(best_index(counts.sum(axis=0), thresholds, stricter))


def goal_among(counts: Ints, thresholds: Floats, goal: Goal) -> Goal | None:
    """Return the goal to set for these images, so that `goal` is met on others; None for none.

    The threshold that just reaches a floor on the images that chose it falls short of it on
    others, half of the time or more. So a stricter floor is set, until, in cross-validation, the
    images left out reach the floor itself.
    """
    if isinstance(goal, F1):
        return goal
    total = counts.sum(axis=0)
    fold_of = deal(_has_label(counts)[:, None], FOLDS, np.random.default_rng(_SEED))
    for step in range(_STEPS):
        floor = goal.floor + (1 - goal.floor) * step / _STEPS
        stricter = replace(goal, floor=floor)
        if best_index(total, thresholds, stricter) < 0:
            return None
        left_out = _at_folds(counts, thresholds, stricter, fold_of).sum(axis=0)
        if reaches(left_out, goal):
            return stricter
    return None


def held_out(counts: Ints, thresholds: Floats, goal: Goal, fold_of: Folds) -> Ints:
    """Count each image at the threshold that `choose_index` chooses on the other folds.

    Args:
        counts: int64 (I, T, 3), of one label in each image.
        thresholds: float64 (T,), rising.
        goal: what makes a threshold good.
        fold_of: intp (I,), the fold of each image.

    Returns:
        int64 (I, 3); where no threshold can be chosen, nothing is found.
    """
    kept = np.zeros((len(counts), 3), np.int64)
    for fold in np.unique(fold_of):
        own = fold_of == fold
        kept[own] = at(counts[own], choose_index(counts[~own], thresholds, goal))
    return kept


def at(counts: Ints, index: int) -> Ints:
    """The counts (I, 3) at a threshold of (I, T, 3); without one, -1, all objects are missed."""
    kept: Ints = counts[:, max(index, 0)].copy()
    if index < 0:
        kept[:, MISSED] += kept[:, FOUND]
        kept[:, :MISSED] = 0
    return kept


def reaches(total: Ints, goal: Goal) -> bool:
    """Whether counts (3,) reach the goal's floor; F1 has none."""
    scores = LabelScores.of(total)
    match goal:
        case PrecisionAtLeast(floor):
            return bool(scores.precision >= floor)
        case RecallAtLeast(floor):
            return bool(scores.recall >= floor)
    return True


def worth(total: Ints, goal: Goal) -> Floats:
    """What is to be high, of counts (..., 3): F1, or what a floor leaves to be gained.

    0 where it is not defined: who finds nothing has no precision to show.
    """
    scores = LabelScores.of(total)
    match goal:
        case PrecisionAtLeast():
            value = scores.recall
        case RecallAtLeast():
            value = scores.precision
        case _:
            value = scores.f1
    return np.nan_to_num(value)


def gain(before: Ints, after: Ints, goal: Goal, *, confidence: float = 0.95) -> Gain:
    """Compare counts (I, 3) of the same images, or (I, L, 3) of several labels together."""
    pair = np.stack([_together(before), _together(after)], axis=1)
    rng = np.random.default_rng(_SEED)
    values = worth(resampled_sums(pair, _SAMPLES, rng), goal)
    differences = values[:, 1] - values[:, 0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    old, new = worth(pair.sum(axis=0), goal)
    return Gain(float(new - old), float(low), float(high))


def _at_folds(counts: Ints, thresholds: Floats, goal: Goal, fold_of: Folds) -> Ints:
    """As `held_out`, with the best threshold of the others as it is."""
    total = counts.sum(axis=0)
    kept = np.zeros((len(counts), 3), np.int64)
    for fold in np.unique(fold_of):
        own = counts[fold_of == fold]
        index = int(best_index(total - own.sum(axis=0), thresholds, goal))
        kept[fold_of == fold] = at(own, index)
    return kept


def _together(counts: Ints) -> Ints:
    summed: Ints = counts if counts.ndim == 2 else counts.sum(axis=1)
    return summed


def _has_label(counts: Ints) -> NDArray[np.bool_]:
    return np.asarray((counts[:, 0, FOUND] + counts[:, 0, MISSED]) > 0)
