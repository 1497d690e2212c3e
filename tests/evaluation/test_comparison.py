"""Differences of two runs: none where they are the same, planted ones in their intervals."""

import numpy as np
import pytest
from numpy.typing import NDArray

from grounded_labeler.evaluation.comparison import Difference, Metric, paired_bootstrap

Counts = NDArray[np.int64]


def two_runs(
    images: int, rates: tuple[float, float], rng: np.random.Generator, labels: int = 2
) -> tuple[Counts, Counts]:
    """Runs that find each object at these rates, by the same luck in each image, none wrong."""
    objects = 1 + rng.poisson(2, (images, labels))
    hard = rng.normal(0, 0.15, (images, 1))  # what makes an image hard does so for both
    runs = []
    for rate in rates:
        found = rng.binomial(objects, (rate - hard).clip(0, 1))
        runs.append(np.stack([found, np.zeros_like(found), objects - found], axis=2))
    return runs[0], runs[1]


@pytest.mark.parametrize("metric", ["f1", "precision", "recall"])
def test_a_run_does_not_differ_from_itself(metric: Metric) -> None:
    a, _ = two_runs(30, (0.7, 0.7), np.random.default_rng(0))
    comparison = paired_bootstrap(a, a, metric=metric, rng=np.random.default_rng(0))
    assert len(comparison.labels) == 2
    for each in (comparison.overall, *comparison.labels):
        assert (each.difference, each.low, each.high) == (0, 0, 0)
        assert each.a == each.b is not None


def test_planted_differences_are_in_the_interval_as_often_as_they_should() -> None:
    rng = np.random.default_rng(1)
    rates = (0.6, 0.68)
    large_a, large_b = two_runs(200_000, rates, rng)
    true = [run[..., 0].sum() / run[..., [0, 2]].sum() for run in (large_a, large_b)]
    inside, found = [], []
    for _ in range(200):
        a, b = two_runs(80, rates, rng)
        overall = paired_bootstrap(a, b, metric="recall", samples=400, rng=rng).overall
        assert overall.low is not None
        assert overall.high is not None
        inside.append(overall.low <= true[1] - true[0] <= overall.high)
        found.append(overall.low > 0)
    assert 0.9 <= np.mean(inside) <= 0.99
    assert np.mean(found) > 0.5


def test_the_same_images_tell_more_than_two_draws_of_images_would() -> None:
    a, b = two_runs(200, (0.5, 0.55), np.random.default_rng(2))
    rng = np.random.default_rng(0)

    def width(of: Difference) -> float:
        assert of.low is not None
        assert of.high is not None
        return of.high - of.low

    paired = paired_bootstrap(a, b, rng=rng).overall
    apart = paired_bootstrap(a, b[::-1], rng=rng).overall
    assert paired.difference == apart.difference
    assert width(paired) < 0.95 * width(apart)


def test_overall_counts_objects_and_labels_without_any_have_no_figure() -> None:
    a = np.zeros((4, 3, 3), np.int64)
    b = a.copy()
    a[:, 0], b[:, 0] = [9, 0, 1], [9, 0, 1]
    a[:, 1], b[:, 1] = [0, 0, 2], [2, 0, 0]
    comparison = paired_bootstrap(a, b, metric="recall", rng=np.random.default_rng(0))
    assert comparison.overall.a == 36 / 48
    assert comparison.overall.b == 44 / 48
    assert comparison.labels[1] == Difference(0, 1, 1, 1, 1)
    assert comparison.labels[2] == Difference(None, None, None, None, None)
    wrong = b.copy()
    wrong[:, 2] = [0, 1, 0]
    only_b = paired_bootstrap(a, wrong, rng=np.random.default_rng(0)).labels[2]
    assert only_b == Difference(None, 0, None, None, None)


@pytest.mark.parametrize("images", [0, 1])
def test_hardly_any_images(images: int) -> None:
    a = np.tile(np.array([1, 1, 0]), (images, 1, 1))
    overall = paired_bootstrap(a, a, rng=np.random.default_rng(0)).overall
    assert overall.difference == (0 if images else None)


def test_other_shapes_are_refused() -> None:
    a = np.zeros((2, 1, 3), np.int64)
    with pytest.raises(ValueError, match="of one shape"):
        paired_bootstrap(a, a[:1], rng=np.random.default_rng(0))
