"""Sums over resampled images: their mean and spread; what is in an image stays together."""

import numpy as np
import pytest

from grounded_labeler.evaluation import bootstrap
from grounded_labeler.evaluation.bootstrap import resampled_sums


def test_sums_vary_as_those_of_other_images_would() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (200, 1))
    sums = resampled_sums(counts, 4000, rng)
    assert sums.dtype == np.int64
    assert sums.shape == (4000, 1)
    assert sums.mean() == pytest.approx(counts.sum(), rel=0.01)
    assert sums.std() == pytest.approx(np.sqrt(200) * counts.std(), rel=0.05)


def test_what_is_in_one_image_is_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_MAX_ENTRIES", 70)  # a few samples at once
    counts = np.arange(7)[:, None, None] * np.array([[1, 2], [3, 4]])
    sums = resampled_sums(counts, 25, np.random.default_rng(0))
    assert sums.shape == (25, 2, 2)
    np.testing.assert_array_equal(sums, sums[:, :1, :1] * np.array([[1, 2], [3, 4]]))
    assert len(np.unique(sums[:, 0, 0])) > 5


def test_no_images_sum_to_nothing() -> None:
    sums = resampled_sums(np.zeros((0, 2, 3), np.int64), 5, np.random.default_rng(0))
    assert sums.tolist() == np.zeros((5, 2, 3)).tolist()
