"""What tells frames of one scene from other scenes, made of the features a detector has anyway.

A mean over the whole image is nearly the same for all images. So the features of the finest level
are averaged around each place of a coarse grid, and of each channel what all places share is
taken away: what is where in the image is left.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GRID = 4  # places along each side
# Of the window around a place, as a share of the side: a shift by a few hundredths changes little.
_SIGMA = 0.12
_LEAST = 1e-4


def embed(levels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return a unit vector for each level of features, (1, C, h, w) of one image each.

    The vectors, float32 (N, GRID * GRID * C), compare by their dot product, in [-1, 1]. That of
    an image with the same features everywhere is all zeros.
    """
    if not levels:
        return np.zeros((0, 0), np.float32)
    return np.stack([_embed_one(level) for level in levels])


def _embed_one(level: NDArray[np.float32]) -> NDArray[np.float32]:
    down, across = (_windows(length) for length in level.shape[2:])
    places = (down @ level[0] @ across.T).reshape(level.shape[1], -1)
    mean = places.mean(axis=1, keepdims=True)
    centred = places - mean
    spread = centred.std(axis=1, keepdims=True, ddof=1)
    # Each channel counts alike: a few would outweigh all others. One that is the same everywhere
    # but for rounding counts nothing.
    counts = spread > _LEAST * (1 + np.abs(mean))
    even = np.divide(centred, spread, out=np.zeros_like(centred), where=counts).ravel()
    return np.asarray(even / max(float(np.linalg.norm(even)), _LEAST), np.float32)


def _windows(length: int) -> NDArray[np.float32]:
    """Gaussian windows, float32 (GRID, length), each of sum 1."""
    places = (np.arange(GRID) + 0.5) / GRID
    cells = (np.arange(length) + 0.5) / length
    windows = np.exp(-0.5 * ((cells - places[:, None]) / _SIGMA) ** 2)
    return np.asarray(windows / windows.sum(axis=1, keepdims=True), np.float32)
