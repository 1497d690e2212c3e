"""Labels whose scores are drawn from known distributions, so that the true figures are known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from grounded_labeler.evaluation.types import FOUND, MISSED, WRONG

THRESHOLDS = np.linspace(0.02, 0.98, 49)


@dataclass(frozen=True)
class Label:
    """Scores of right and of wrong detections (Beta's two parameters), and how many per image."""

    right: tuple[float, float]
    wrong: tuple[float, float]
    objects: float
    others: float

    @classmethod
    def by_chance(cls, rng: np.random.Generator) -> "Label":
        return cls(
            (rng.uniform(2, 8), rng.uniform(1.5, 3)),
            (rng.uniform(1, 3), rng.uniform(2, 6)),
            rng.uniform(0.5, 2),
            rng.uniform(0.5, 4),
        )

    def counts(self, images: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Counts of images at each of THRESHOLDS: int64 (images, T, 3)."""
        counts = np.zeros((images, len(THRESHOLDS), 3), np.int64)
        for of_image in counts:
            right = rng.beta(*self.right, rng.poisson(self.objects))
            wrong = rng.beta(*self.wrong, rng.poisson(self.others))
            of_image[:, FOUND] = np.greater_equal.outer(right, THRESHOLDS).sum(axis=0)
            of_image[:, WRONG] = np.greater_equal.outer(wrong, THRESHOLDS).sum(axis=0)
            of_image[:, MISSED] = len(right) - of_image[:, FOUND]
        return counts

    def expected(self) -> NDArray[np.float64]:
        """The mean counts of an image at each of THRESHOLDS: float64 (T, 3)."""
        found = self.objects * stats.beta.sf(THRESHOLDS, *self.right)
        wrong = self.others * stats.beta.sf(THRESHOLDS, *self.wrong)
        expected: NDArray[np.float64] = np.stack([found, wrong, self.objects - found], axis=1)
        return expected


def f1_of(counts: NDArray[np.number]) -> NDArray[np.float64]:
    """F1 of counts (..., 3), which may be expected ones."""
    found, wrong, missed = np.moveaxis(counts.astype(np.float64), -1, 0)
    f1: NDArray[np.float64] = 2 * found / (2 * found + wrong + missed)
    return f1
