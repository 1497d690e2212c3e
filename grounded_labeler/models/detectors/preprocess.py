"""Preprocessing of images: strips padded, pixels halved when memory is short."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import RGBImage

Pixels = NDArray[np.float32]  # (3, h, w), resized and normalised for the model

# An image more than this many times as long as it is wide is padded: resized
# as it is, it would have a side of a few pixels, or of none at all.
MAX_ASPECT = 16
# The mean colour of ImageNet, which normalisation turns into zeros.
_PADDING_RGB = (124, 116, 104)
# The longer side that goes with a shorter one of 800 in the published models.
_LONG_SIDE, _SHORT_SIDE = 1333, 800


def long_side(short_side: int) -> int:
    """Return the limit in pixels of the longer side when the shorter gets `short_side`."""
    return short_side * _LONG_SIDE // _SHORT_SIDE


def max_aspect(longest: int, queries: int, cell_side: int) -> float:
    """Return the highest aspect ratio of an image resized to `longest` pixels at most.

    A model that proposes more boxes, `queries`, than it sees cells fails; its finest
    cells are `cell_side` pixels long.
    """
    return min(MAX_ASPECT, longest**2 / (queries * cell_side**2))


def widened_hw(size_hw: tuple[int, ...], aspect: float = MAX_ASPECT) -> tuple[int, int]:
    """Return the height and width that `pad_to_aspect` gives an image of `size_hw`."""
    height, width = size_hw
    short = math.ceil(max(height, width) / aspect)
    return max(height, short), max(width, short)


def pad_to_aspect(image: RGBImage, aspect: float = MAX_ASPECT) -> RGBImage:
    """Pad a strip at its right or bottom to `aspect`; other images come back as they are.

    Pixels keep their coordinates, so boxes need no conversion back.
    """
    height, width = image.shape[:2]
    wide_hw = widened_hw((height, width), aspect)
    if wide_hw == (height, width):
        return image
    padded = np.empty((*wide_hw, 3), np.uint8)
    padded[:] = _PADDING_RGB
    padded[:height, :width] = image
    return padded


def halve(pixels: Pixels) -> Pixels:
    """Halve both sides; each pixel is the mean of the four it replaces."""
    height, width = pixels.shape[1:]
    # Channel by channel: OpenCV wants them last.
    halves = [
        cv2.resize(one, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for one in pixels
    ]
    return np.asarray(np.stack(halves), np.float32)


def pad_to_patches(pixels: NDArray[np.float32], side: int = 4) -> NDArray[np.float32]:
    """(B, 3, h, w) with zeros at the right and bottom to whole patches.

    Swin does so itself; done before, its graph is the same for all sizes.
    """
    down, right = (-length % side for length in pixels.shape[2:])
    return np.pad(pixels, ((0, 0), (0, 0), (0, down), (0, right)))
