"""Chooses a label's threshold, and says how good it is on images that did not choose it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.evaluation.bootstrap import resampled_sums
from grounded_labeler.evaluation.curve import Goal, best_index
from grounded_labeler.evaluation.intervals import Interval
from grounded_labeler.evaluation.types import FOUND, MISSED

_SAMPLES = 400


@dataclass(frozen=True, eq=False)
class ThresholdChoice:
    """A threshold for one label, how sure it is, and how good.

    Attributes:
        threshold: the best one on all images; None where none meets the goal.
        counts: int64 (3,), found, wrong and missed at the threshold, on the images that chose it:
            better than it will be on others. Without a threshold nothing is found.
        held_out: int64 (3,), found, wrong and missed of each image at the threshold that the
            images of the other folds chose. This is what to expect of other images, a little
            less rather than more, as each fold's threshold is chosen on fewer images. Where a
            floor was the goal, these counts tell whether it held. None with fewer than two
            images that have the label.
        interval: where the threshold would be in 95 of 100 draws of as many images: a wide one
            says that the images do not tell thresholds apart. None without a threshold.
        folds: how many parts `held_out` is made of.
    """

    threshold: float | None
    counts: NDArray[np.int64]
    held_out: NDArray[np.int64] | None
    interval: Interval | None
    folds: int


def choose_threshold(
    counts: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    goal: Goal,
    *,
    folds: int = 5,
    rng: np.random.Generator,
) -> ThresholdChoice:
    """Choose the best threshold of one label on all images, and cross-validate the choice.

    For the figure, the images are dealt into folds; each fold is counted at the threshold that is
    best on the others (Stone 1974, "Cross-validatory choice and assessment of statistical
    predictions"). Every fold gets its share of the images that have the label. For the interval,
    images are drawn with replacement 400 times, and the middle 95 % of the best thresholds kept.

    Args:
        counts: int64 (I, T, 3), of each image at each threshold.
        thresholds: float64 (T,), rising.
        goal: what makes a threshold good.
        folds: 2 or more; fewer are made where fewer images have the label.
        rng: what deals and draws; the same seed gives the same choice.
    """
    if folds < 2:
        raise ValueError(f"folds must be 2 or more, got {folds}")
    if counts.shape[1:] != (len(thresholds), 3):
        raise ValueError(f"counts must be (I, {len(thresholds)}, 3), got {counts.shape}")
    total = counts.sum(axis=0)
    index = int(best_index(total, thresholds, goal))
    has_label = np.asarray((counts[:, :, FOUND] + counts[:, :, MISSED]).any(axis=1))
    folds = min(folds, int(has_label.sum()))
    held_out = None
    if folds >= 2:
        held_out = np.zeros(3, np.int64)
        fold_of = _deal(has_label, folds, rng)
        for fold in range(folds):
            of_fold = counts[fold_of == fold].sum(axis=0)
            held_out += _at(of_fold, int(best_index(total - of_fold, thresholds, goal)))
    return ThresholdChoice(
        threshold=None if index < 0 else float(thresholds[index]),
        counts=_at(total, index),
        held_out=held_out,
        interval=None if index < 0 else _interval(counts, thresholds, goal, rng),
        folds=folds if held_out is not None else 0,
    )


def _deal(has_label: NDArray[np.bool_], folds: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """The fold of each image, intp (I,): those with the label are dealt first, then the others."""
    shuffled = rng.permutation(len(has_label))
    order = shuffled[np.argsort(~has_label[shuffled], kind="stable")]
    fold_of = np.empty(len(has_label), np.intp)
    fold_of[order] = np.arange(len(has_label)) % folds
    return fold_of


def _at(counts: NDArray[np.int64], index: int) -> NDArray[np.int64]:
    """The counts (3,) at a threshold of (T, 3); without one, all objects are missed."""
    found, wrong, missed = counts[max(index, 0)].tolist()
    return np.array([found, wrong, missed] if index >= 0 else [0, 0, found + missed], np.int64)


def _interval(
    counts: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    goal: Goal,
    rng: np.random.Generator,
) -> Interval | None:
    best = best_index(resampled_sums(counts, _SAMPLES, rng), thresholds, goal)
    chosen = thresholds[best[best >= 0]]
    if not len(chosen):
        return None
    low, high = np.quantile(chosen, [0.025, 0.975])
    return Interval(float(low), float(high))
