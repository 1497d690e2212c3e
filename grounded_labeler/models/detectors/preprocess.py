"""Preprocessing of images: strips padded, resized, normalised, halved when memory is short."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import RGBImage
from grounded_labeler.models.pixels import RGB, PixelPlan, Pixels, make_pixels, tables_of

# An image more than this many times as long as it is wide is padded: resized
# as it is, it would have a side of a few pixels, or of none at all.
MAX_ASPECT = 16
# The mean colour of ImageNet, which normalisation turns into zeros.
_PADDING_RGB = (124, 116, 104)
# The longer side that goes with a shorter one of 800 in the published models.
_LONG_SIDE, _SHORT_SIDE = 1333, 800

# The side of Swin's patches, in pixels.
PATCH = 4

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
        return make_pixels(image, self.plan((image.shape[0], image.shape[1])))

    def plan(self, size_hw: tuple[int, int], patch: int = 1) -> PixelPlan:
        """Return how an image of `size_hw` is resized, and padded to patches of that side."""
        height, width = resized_hw = self.resized_hw(size_hw)
        # Torchvision resizes rows first; Pillow itself begins with what is less work.
        rows = () if self.fit == "groundingdino" else ((size_hw[0], width),)
        canvas_hw = height + -height % patch, width + -width % patch
        return PixelPlan((*rows, resized_hw), self.resample, self._tables, canvas_hw)

    @cached_property
    def _tables(self) -> NDArray[np.float32]:
        return tables_of(self.mean, self.deviation, self.divisor)


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


def pad_to_patches(pixels: NDArray[np.float32], side: int = PATCH) -> NDArray[np.float32]:
    """Fill (..., h, w) with zeros at the right and bottom to whole patches; or return it, if whole.

    Swin does so itself; done before, its graph is the same for all sizes.
    """
    down, right = (-length % side for length in pixels.shape[-2:])
    if not (down or right):
        return pixels
    return np.pad(pixels, ((0, 0),) * (pixels.ndim - 2) + ((0, down), (0, right)))
