"""Compares two ways to find the same objects in the same images."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.evaluation.bootstrap import resampled_sums
from grounded_labeler.evaluation.curve import LabelScores

Metric = Literal["f1", "precision", "recall"]


@dataclass(frozen=True)
class Difference:
    """A figure of a and of b, and how sure their difference is; None where nothing was counted.

    Attributes:
        a, b: the figures on all images, in [0, 1].
        difference: b - a, in [-1, 1]; above 0 where b is better.
        low, high: where the difference would lie in 95 of 100 draws of as many images. Where
            0 is between them, the images do not tell which of the two is better.
    """

    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """The difference of all labels together, and that of each label, in the order of the counts.

    `overall` counts all objects alike, whatever their labels (the micro average), so frequent
    labels weigh more. Of many labels some differ by chance: of 20 that are the same in truth,
    about one has an interval without 0.
    """

    overall: Difference
    labels: tuple[Difference, ...]


def paired_bootstrap(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    *,
    metric: Metric = "f1",
    samples: int = 2000,
    rng: np.random.Generator,
) -> Comparison:
    """Compare the counts of two runs on the same images by a paired bootstrap over images.

    Each sample draws images with replacement and takes both runs on the same draw, so what makes
    an image hard or easy for both cancels out, and small differences can be told (Efron &
    Tibshirani 1993, "An Introduction to the Bootstrap"; percentile intervals at 95 %).

    Args:
        a: int64 (I, L, 3), found, wrong and missed of each label in each image.
        b: int64 (I, L, 3), of the other run.
        metric: the figure to compare.
        samples: how many draws.
        rng: what draws; the same seed gives the same intervals.
    """
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3:
        raise ValueError(f"both counts must be (I, L, 3) of one shape, got {a.shape}, {b.shape}")
    both = np.stack([a, b], axis=1)
    both = np.concatenate([both.sum(axis=2, keepdims=True), both], axis=2)  # (I, 2, 1 + L, 3)
    of_all = _figures(both.sum(axis=0), metric)
    of_samples = _figures(resampled_sums(both, samples, rng), metric)
    drawn = of_samples[:, 1] - of_samples[:, 0]
    overall, *labels = (
        _difference(of_all[:, column], drawn[:, column]) for column in range(drawn.shape[1])
    )
    return Comparison(overall, tuple(labels))


def _figures(counts: NDArray[np.int64], metric: Metric) -> NDArray[np.float64]:
    scores = LabelScores.of(counts)
    match metric:
        case "f1":
            return scores.f1
        case "precision":
            return scores.precision
        case "recall":
            return scores.recall


def _difference(of_all: NDArray[np.float64], drawn: NDArray[np.float64]) -> Difference:
    """Of the figures (2,) on all images, NaN for none, and their differences (S,) in each draw."""
    a, b = (None if np.isnan(figure) else float(figure) for figure in of_all)
    known = drawn[~np.isnan(drawn)]
    if a is None or b is None or not len(known):
        return Difference(a, b, None, None, None)
    low, high = np.quantile(known, [0.025, 0.975])
    return Difference(a, b, b - a, float(low), float(high))
