"""From an image to what a model takes: resized as Pillow does, and normalised by tables.

A GPU does both to the same bits, see `runtime/device_pixels.py`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.runtime.graph import Array

logger = logging.getLogger(__name__)

Pixels = NDArray[np.float32]  # (3, h, w), resized and normalised for a model
RGB = tuple[float, float, float]

# Larger images are resized on the host: on a GPU they would take hundreds of megabytes there, and
# it is their decoding that takes long.
_MOST_PIXELS_ON_GPU = 2**24
# The filters that are computed there.
_ON_GPU = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)


@dataclass(frozen=True, eq=False)
class PixelPlan:
    """How images of one size are resized and normalised.

    Attributes:
        sizes_hw: the heights and widths that they are resized to, one after the other.
        resample: the filter, a number of Pillow's `Image.Resampling`.
        tables: what each value of each channel becomes, float32 (3, 256).
        canvas_hw: height and width of the result, 0 where the image does not reach: at the right
            and at the bottom.
    """

    sizes_hw: tuple[tuple[int, int], ...]
    resample: int
    tables: NDArray[np.float32]
    canvas_hw: tuple[int, int]


def tables_of(mean: RGB, deviation: RGB, divisor: float = 1) -> NDArray[np.float32]:
    """Return the tables of a plan: values are divided by `divisor`, then less `mean`, then divided.

    In float32 and in the order of the models' own packages, so that every bit is theirs.
    """
    values = np.arange(256, dtype=np.float32) / np.float32(divisor)
    subtracted, divided = (np.array(one, np.float32)[:, None] for one in (mean, deviation))
    return np.asarray((values - subtracted) / divided, np.float32)


def resize(image: RGBImage, sizes_hw: Sequence[tuple[int, int]], resample: int) -> RGBImage:
    """Resize an image to each of `sizes_hw`, one after the other, by a filter of Pillow's."""
    resized = Image.fromarray(image)
    for height, width in sizes_hw:
        resized = resized.resize((width, height), Image.Resampling(resample))
    return np.asarray(resized)


def make_pixels(image: RGBImage, plan: PixelPlan) -> Pixels:
    """Resize and normalise an image on the host."""
    resized = resize(image, plan.sizes_hw, plan.resample)
    height, width = resized.shape[:2]
    pixels = np.empty((3, *plan.canvas_hw), np.float32)
    pixels[:, height:] = 0
    pixels[:, :height, width:] = 0
    for channel, values, table in zip(cv2.split(resized), pixels, plan.tables, strict=True):
        cv2.LUT(channel, table, dst=values[:height, :width])
    return pixels


def make_pixels_on(device: str, image: RGBImage, plan: PixelPlan) -> Array:
    """Resize and normalise an image on `device`, "cpu" or "cuda", where the result stays.

    What is too large for a GPU, or has a filter that is not computed there, is made on the host.
    """
    is_small = image.shape[0] * image.shape[1] <= _MOST_PIXELS_ON_GPU
    if device == "cpu" or not is_small or plan.resample not in _ON_GPU:
        return make_pixels(image, plan)
    from grounded_labeler.models.runtime import device_pixels  # noqa: PLC0415 - it needs torch

    try:
        return device_pixels.make_pixels(device, image, plan)
    except OutOfMemory:
        logger.warning("Out of memory on the GPU: an image is resized on the host")
        return make_pixels(image, plan)
