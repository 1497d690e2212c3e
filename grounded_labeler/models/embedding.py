"""What tells frames of one scene from other scenes, made of the features a detector has anyway.

A mean over the whole image is nearly the same for all images. So the features of the finest level
are averaged around each place of a coarse grid, and of each channel what all places share is
taken away: what is where in the image is left.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GRID = 4  # places along each side
# Of the window around a place, as a share of the side: a shift by a few hundredths changes little.
_SIGMA = 0.12
_LEAST = 1e-4


@torch.inference_mode()
def embed(levels: Sequence[Tensor]) -> NDArray[np.float32]:
    """Return a unit vector for each level of features, (1, C, h, w) of one image each.

    The vectors, float32 (N, GRID * GRID * C), compare by their dot product, in [-1, 1]. That of
    an image with the same features everywhere is all zeros.
    """
    if not levels:
        return np.zeros((0, 0), np.float32)
    return np.stack([_embed_one(level) for level in levels])


def _embed_one(level: Tensor) -> NDArray[np.float32]:
    features = level[0].float()
    down, across = (_windows(length).to(features.device) for length in features.shape[1:])
    places = torch.einsum("ih,chw,jw->cij", down, features, across).flatten(1)
    mean = places.mean(1, keepdim=True)
    centred = places - mean
    spread = centred.std(1, keepdim=True)
    # Each channel counts alike: a few would outweigh all others. One that is the same everywhere
    # but for rounding counts nothing.
    even = torch.where(spread > _LEAST * (1 + mean.abs()), centred / spread, 0.0)
    unit = even.flatten() / even.norm().clamp(min=_LEAST)
    return np.asarray(unit.cpu().numpy(), np.float32)


def _windows(length: int) -> Tensor:
    """Gaussian windows, float32 (GRID, length), each of sum 1."""
    places = (torch.arange(GRID) + 0.5) / GRID
    cells = (torch.arange(length) + 0.5) / length
    windows = torch.exp(-0.5 * ((cells - places[:, None]) / _SIGMA) ** 2)
    return windows / windows.sum(1, keepdim=True)
