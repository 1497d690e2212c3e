"""Boxes that are turned: their corners, and the smallest one around a mask."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.components import tight_box, without_specks
from grounded_labeler.core.masks import Mask

_LEAST_SAVED = 0.05


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

    Whole pixels lie inside, from corner to corner. The box is turned by 45 degrees at most, to
    either side: its width is the side that lies rather than stands.
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
    # What range OpenCV's angles are from differs by its version.
    quarters = math.ceil((degrees - 45) / 90)
    if quarters % 2:
        width, height = height, width
    degrees = (degrees - 90 * quarters) % 360
    return RotatedBox(x + tight.left, y + tight.top, width, height, degrees)


def box_to_draw(mask: Mask) -> RotatedBox | None:
    """Return the box around a mask, turned only where that makes it smaller; None without a pixel.

    It stays upright where turning saves less than 5 % of the area: a disc has no angle, and the
    edges of pixels give it one. Specks do not count: parts that add up to 2 % of the mask at most,
    as a model leaves them beside an object.
    """
    own = without_specks(mask)
    turned = smallest_rotated_box(own)
    if turned is None:
        return None
    x0, y0, x1, y1 = tight_box(own).tolist()
    upright = RotatedBox((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, 0.0)
    saved = 1 - turned.width * turned.height / (upright.width * upright.height)
    return turned if saved >= _LEAST_SAVED else upright
