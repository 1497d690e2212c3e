"""Resizes and normalises images on the device that computes the models, to Pillow's own bits.

Pillow resizes bytes in integers, so the order in which a device adds does not matter: see
https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c. Beside a GPU it takes
the host 15 milliseconds an image, for which the GPU would wait.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from grounded_labeler.core.types import RGBImage
from grounded_labeler.models.pixels import PixelPlan
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors

# Pillow's weights are whole numbers of this many bits behind the point.
_BITS = 22
_SUPPORT = {Image.Resampling.BILINEAR: 1.0, Image.Resampling.BICUBIC: 2.0}


@translate_memory_errors()
def make_pixels(device: str, image: RGBImage, plan: PixelPlan) -> Tensor:
    """Return what `pixels.make_pixels` returns, on `device`; `plan` is bilinear or bicubic.

    Rows come first. Some images that get less high Pillow 13 resizes along columns first, where
    one step of the plan does both: a fifth of their bytes then come out 1 higher or lower.
    """
    with torch.inference_mode():
        values = _upload(image, device)
        for size_hw in plan.sizes_hw:
            values = _resized(values, size_hw, Image.Resampling(plan.resample))
        height, width = values.shape[:2]
        places = values.int() + 256 * torch.arange(3, dtype=torch.int32, device=device)
        tables = _upload(plan.tables, device).flatten()
        pixels = torch.zeros((3, *plan.canvas_hw), device=device)
        pixels[:, :height, :width] = tables.take(places.permute(2, 0, 1).long())
        return pixels


def _resized(values: Tensor, size_hw: tuple[int, int], resample: Image.Resampling) -> Tensor:
    """Resize uint8 (h, w, 3)."""
    for axis in (1, 0):
        if values.shape[axis] != size_hw[axis]:
            values = _resized_along(values, axis, size_hw[axis], resample)
    return values


def _resized_along(values: Tensor, axis: int, length: int, resample: Image.Resampling) -> Tensor:
    firsts, weights = (
        _upload(one, values.device) for one in _weights(values.shape[axis], length, resample)
    )
    shape = (1, length, 1) if axis else (length, 1, 1)
    out = list(values.shape)
    out[axis] = length
    total = torch.full(out, 1 << (_BITS - 1), dtype=torch.int32, device=values.device)
    for tap, of_tap in enumerate(weights):
        places = (firsts + tap).clamp_(max=values.shape[axis] - 1)
        total.addcmul_(values.index_select(axis, places).int(), of_tap.view(shape))
    return (total >> _BITS).clamp_(0, 255).byte()


def _upload(array: NDArray[np.generic], device: "torch.device | str") -> Tensor:
    # torch takes no array that is read-only or runs backwards.
    return torch.from_numpy(np.require(array, requirements=("C", "W"))).to(device)


@lru_cache(maxsize=32)
def _weights(
    before: int, after: int, resample: Image.Resampling
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """What each of `after` values is mixed from: the first of `before`, and weights from there.

    Returns int32 (after,) and (taps, after), as `precompute_coeffs` makes them, in its order.
    """
    scale = before / after
    stretch = max(scale, 1.0)
    reach = _SUPPORT[resample] * stretch
    centres = (np.arange(after) + 0.5) * scale
    firsts = np.maximum((centres - reach + 0.5).astype(np.int32), 0)
    ends = np.minimum((centres + reach + 0.5).astype(np.int32), before)
    taps = np.arange(math.ceil(reach) * 2 + 1)[:, None]
    away = abs((taps + firsts - centres + 0.5) * (1.0 / stretch))
    weights = _bilinear(away) if resample is Image.Resampling.BILINEAR else _bicubic(away)
    weights[taps >= ends - firsts] = 0
    whole = np.zeros(after)
    for of_tap in weights:
        whole += of_tap
    weights = weights / np.where(whole == 0, 1, whole) * (1 << _BITS)
    rounded = np.where(weights < 0, weights - 0.5, weights + 0.5).astype(np.int32)
    return firsts, rounded[: np.flatnonzero(rounded.any(axis=1)).max() + 1]


def _bilinear(away: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1 - away, 0)


def _bicubic(away: NDArray[np.float64]) -> NDArray[np.float64]:
    a = -0.5
    near = ((a + 2) * away - (a + 3)) * away * away + 1
    far = (((away - 5) * away + 8) * away - 4) * a
    return np.where(away < 1, near, np.where(away < 2, far, 0.0))
