"""Boxes that are turned: their corners, and the smallest one around a mask."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import Mask


@dataclass(frozen=True)
class RotatedBox:
    """A box turned about its centre, in pixels of the image; it may reach over the edge.

    `degrees`, in [0, 360), are clockwise on the screen, as Label Studio counts them.
    """

    x: float
    y: float
    width: float
    height: float
    degrees: float

    def corners(self) -> NDArray[np.float64]:
        """The corners, (4, 2) xy in pixels, clockwise from what is top left before it is turned."""
        angle = math.radians(self.degrees)
        along = np.array([math.cos(angle), math.sin(angle)]) * self.width / 2
        across = np.array([-math.sin(angle), math.cos(angle)]) * self.height / 2
        steps = [-along - across, along - across, along + across, across - along]
        return np.array([self.x, self.y]) + np.stack(steps)


def smallest_rotated_box(mask: Mask) -> RotatedBox | None:
    """Return the box of the smallest area around the pixels of a mask; None without a pixel.

    Whole pixels lie inside, from corner to corner. It is turned by less than 90 degrees.
    """
    tight = mask.trimmed()
    rows, columns = np.nonzero(tight.crop)
    if not len(rows):
        return None
    # The outermost pixels of each row are enough for the hull.
    first = np.full(tight.crop.shape[0], tight.crop.shape[1])
    np.minimum.at(first, rows, columns)
    last = np.full(tight.crop.shape[0], -1)
    np.maximum.at(last, rows, columns)
    taken = np.flatnonzero(last >= 0)
    points = np.concatenate(
        [
            np.stack([side, taken + down], axis=1)
            for side in (first[taken], last[taken] + 1)
            for down in (0, 1)
        ]
    )
    (x, y), (width, height), degrees = cv2.minAreaRect(points.astype(np.float32))
    if degrees >= 90:  # OpenCV gives (0, 90], which holds an upright box as turned by 90
        width, height, degrees = height, width, degrees - 90
    return RotatedBox(x + tight.left, y + tight.top, width, height, degrees)
