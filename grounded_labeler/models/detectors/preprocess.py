"""Preprocessing of images: strips padded, resized, normalised, halved when memory is short."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grounded_labeler.core.types import RGBImage

Pixels = NDArray[np.float32]  # (3, h, w), resized and normalised for the model

# An image more than this many times as long as it is wide is padded: resized
# as it is, it would have a side of a few pixels, or of none at all.
MAX_ASPECT = 16
# The mean colour of ImageNet, which normalisation turns into zeros.
_PADDING_RGB = (124, 116, 104)
# The longer side that goes with a shorter one of 800 in the published models.
_LONG_SIDE, _SHORT_SIDE = 1333, 800

RGB = tuple[float, float, float]
Fit = Literal["groundingdino", "transformers", "exact", "within"]


@dataclass(frozen=True)
class Preprocessing:
    """How a model's images are resized and normalised.

    Attributes:
        fit: what `size` means. "groundingdino" and "transformers": the length in pixels of the
            shorter side and the most that the longer may have, rounded as that package does.
            "exact": height and width. "within": the most of height and of width.
        size: two lengths in pixels.
        resample: the filter, a number of Pillow's `Image.Resampling`.
        divisor: values from 0 to 255 are divided by it first.
        mean: of each channel, subtracted then.
        deviation: of each channel, by which is divided then.
    """

    fit: Fit
    size: tuple[int, int]
    resample: int
    divisor: float
    mean: RGB
    deviation: RGB

    @property
    def longest(self) -> int:
        """The most pixels that the longer side of a resized image has."""
        return max(self.size)

    def with_short_side(self, short_side: int) -> "Preprocessing":
        """Resize to another length of the shorter side, the longer in proportion."""
        fit: Fit = "groundingdino" if self.fit == "groundingdino" else "transformers"
        return replace(self, fit=fit, size=(short_side, short_side * _LONG_SIDE // _SHORT_SIDE))

    def resized_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width that an image of `size_hw` gets."""
        height, width = size_hw
        if self.fit == "exact":
            return self.size
        if self.fit == "within":
            scale = min(self.size[0] / height, self.size[1] / width)
            return int(height * scale), int(width * scale)
        shortest, longest = self.size
        side: float = shortest
        if max(size_hw) / min(size_hw) * shortest > longest:
            side = longest * min(size_hw) / max(size_hw)
        short = round(side)
        if min(size_hw) == short:
            return height, width
        if self.fit == "groundingdino":
            side = short
        if width < height:
            return int(side * height / width), short
        return short, int(side * width / height)

    def prepare(self, image: RGBImage) -> Pixels:
        """Resize and normalise one image, as the model's own package does."""
        height, width = self.resized_hw((image.shape[0], image.shape[1]))
        resample = Image.Resampling(self.resample)
        resized = Image.fromarray(image)
        if self.fit != "groundingdino":
            # Torchvision resizes rows first; Pillow itself begins with what is less work.
            resized = resized.resize((width, image.shape[0]), resample)
        resized = resized.resize((width, height), resample)
        pixels = np.empty((3, height, width), np.float32)
        for channel, values, table in zip(
            cv2.split(np.asarray(resized)), pixels, self._tables, strict=True
        ):
            cv2.LUT(channel, table, dst=values)
        return pixels

    @cached_property
    def _tables(self) -> NDArray[np.float32]:
        """What each value of each channel becomes, (3, 256), in the packages' own operations."""
        values = np.arange(256, dtype=np.float32) / np.float32(self.divisor)
        mean, deviation = (
            np.array(one, np.float32)[:, None] for one in (self.mean, self.deviation)
        )
        return np.asarray((values - mean) / deviation, np.float32)


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
