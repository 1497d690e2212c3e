"""The connected parts of a mask."""

import cv2
import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import Mask

# Values of pixels; 0 is what is in no part.
_IN_PART, _TOUCHED = 1, 2
_BACKGROUND_AND_ONE = 2  # of OpenCV's components
_SPECKS_SHARE = 0.02


def touched_parts(mask: Mask, points: NDArray[np.floating]) -> Mask:
    """Return the parts of `mask` that a point lies in: specks elsewhere are no part of the object.

    Pixels that touch at a corner are connected. Where no point lies in any part, as beside a
    thin object, the mask stays as it is.

    Args:
        mask: the mask of one object.
        points: (P, 2) xy in pixels of the image, those that lie on the object.
    """
    if not mask.any():  # OpenCV crashes on an array without a pixel
        return mask
    height, width = mask.crop.shape
    # Whoever clicks on the far edge of the image means its last pixels.
    pixels = np.minimum(np.floor(points), np.array(mask.size_hw[::-1]) - 1)
    columns, rows = (pixels - (mask.left, mask.top)).astype(np.intp).T
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    parts = mask.crop.astype(np.uint8, order="C")  # OpenCV fills no other in place
    for seed in zip(columns[inside].tolist(), rows[inside].tolist(), strict=True):
        if parts[seed[::-1]] == _IN_PART:
            cv2.floodFill(parts, None, seed, _TOUCHED, flags=8)
    touched = parts == _TOUCHED
    return _with_crop(mask, touched).trimmed() if touched.any() else mask


def without_specks(mask: Mask) -> Mask:
    """Return the mask without its smallest parts, as many as add up to 2 % of its area at most.

    Pixels that touch at a corner are connected.
    """
    if not mask.any():
        return mask
    pixels = mask.crop.astype(np.uint8)
    count, parts, figures, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    if count <= _BACKGROUND_AND_ONE:
        return mask
    areas = figures[1:, cv2.CC_STAT_AREA]
    order = np.argsort(areas, kind="stable")
    specks = order[areas[order].cumsum() <= _SPECKS_SHARE * areas.sum()]
    if not len(specks):
        return mask
    return _with_crop(mask, mask.crop & ~np.isin(parts, specks + 1)).trimmed()


def tight_box(mask: Mask) -> NDArray[np.float32]:
    """Return the box around the pixels of a mask, float32 (4,) xyxy, half-open.

    All zeros for a mask without a pixel.
    """
    tight = mask.trimmed()
    height, width = tight.crop.shape
    edges = (tight.left, tight.top, tight.left + width, tight.top + height)
    return np.array(edges, np.float32)


def _with_crop(mask: Mask, crop: NDArray[np.bool_]) -> Mask:
    """The mask with other pixels, bool (h, w), in place of its crop."""
    return Mask(crop, mask.left, mask.top, mask.size_hw)
