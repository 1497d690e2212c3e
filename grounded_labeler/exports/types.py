"""A dataset before it is written: images, what is in each of them, and what belongs together."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.coco import CocoRle
from grounded_labeler.core.rotated import RotatedBox


@dataclass(frozen=True, eq=False)
class ExportObject:
    """One object of an image.

    Attributes:
        label: its label, or the phrase that found it where no label fits.
        box: float32 (4,), xyxy in pixels of the displayed image, half-open.
        mask: a mask of the size of the image; None without one.
        rotated: the box as somebody turned it; None for one that is upright.
        score: in [0, 1]; None for what a person drew.
    """

    label: str
    box: NDArray[np.float32]
    mask: CocoRle | None = None
    rotated: RotatedBox | None = None
    score: float | None = None


@dataclass(frozen=True, eq=False)
class ExportImage:
    """One image that was looked at; without objects it is there all the same.

    Attributes:
        name: its file in the dataset, a relative path with "/", each name once.
        size_hw: height and width of the displayed image in pixels.
        objects: what is in it, best first.
        group: images of one group stay on one side of a split; "" belongs with no other.
        read: reads the image file; raises ImageError when it cannot be had.
    """

    name: str
    size_hw: tuple[int, int]
    objects: tuple[ExportObject, ...]
    group: str
    read: Callable[[], bytes]
