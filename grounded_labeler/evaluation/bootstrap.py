"""Resamples images, to see how far a figure would vary with other images of the same kind.

Objects of one image are alike, so whole images are drawn, with all that is in them (the cluster
bootstrap: Davison & Hinkley 1997, "Bootstrap Methods and their Application", section 3.8).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# How many times each image was drawn is kept for so many samples at once.
_MAX_ENTRIES = 4_000_000


def resampled_sums(
    counts: NDArray[np.int64], samples: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Sum counts over images that are drawn with replacement, as many as there are.

    Args:
        counts: int64 (I, ...), of each image.
        samples: how many times to draw I images.
        rng: what draws them; the same seed gives the same sums.

    Returns:
        int64 (samples, ...).
    """
    images = len(counts)
    flat = counts.reshape(images, int(np.prod(counts.shape[1:]))).astype(np.float64)
    parts = [drawn @ flat for drawn in _draws(images, samples, rng)]
    return np.concatenate(parts).astype(np.int64).reshape(samples, *counts.shape[1:])


def _draws(images: int, samples: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """How many times each image is drawn, float64 (S, I), for at most so many samples at once."""
    step = max(1, _MAX_ENTRIES // max(1, images))
    for start in range(0, samples, step):
        size = min(step, samples - start)
        if images:
            drawn = rng.multinomial(images, np.full(images, 1 / images), size)
            yield drawn.astype(np.float64)
        else:
            yield np.zeros((size, 0))
