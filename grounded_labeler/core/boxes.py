"""All coordinate arithmetic: pixels, fractions and percent, and overlap.

Boxes are float32 (N, 4), xyxy in pixels of the upright image, half-open: a box
over the whole of a W x H image is (0, 0, W, H). Every function takes N = 0.
"""

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import Boxes

# Percent are given in steps of 1/10000, 1/100 of a pixel in an image 10,000 pixels wide.
# With this step, x + width of two rounded floats is never over 100 (see the tests).
_STEPS_PER_PERCENT = 10_000


def from_cxcywh(boxes01: NDArray[np.floating], size_wh: tuple[int, int]) -> Boxes:
    """Pixel boxes from (N, 4) centre x, centre y, width, height as fractions of the image."""
    centre, half = boxes01[:, :2] * size_wh, boxes01[:, 2:] * size_wh / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def clip_boxes(boxes: Boxes, size_wh: tuple[int, int]) -> Boxes:
    """The part of each box inside the image; one wholly outside becomes a line or a point."""
    return np.clip(boxes, 0, np.array([*size_wh, *size_wh], np.float32))


def has_min_side(boxes: Boxes, min_side: float = 1.0) -> NDArray[np.bool_]:
    """Which boxes, bool (N,), are at least `min_side` pixels wide and high; never one with NaN."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray((sides >= min_side).all(axis=1))


def box_iou(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Overlap of every box of `a` (N, 4) with every box of `b` (M, 4): (N, M) in [0, 1].

    Overlap is intersection over union; two boxes without area do not overlap.
    """
    shared = _shared_sides(a, b, 0)
    shared *= _shared_sides(a, b, 1)
    union = np.add.outer(box_areas(a), box_areas(b))
    union -= shared
    return np.divide(shared, union, out=shared, where=union > 0)  # where it is 0, so is shared


def box_coverage(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """How much of every box of `a` (N, 4) lies in every box of `b` (M, 4): (N, M) in [0, 1].

    Nothing of a box without area lies in another.
    """
    shared = _shared_sides(a, b, 0)
    shared *= _shared_sides(a, b, 1)
    areas = np.broadcast_to(box_areas(a)[:, None], shared.shape)
    return np.divide(shared, areas, out=shared, where=areas > 0)


def box_areas(boxes: Boxes) -> NDArray[np.float32]:
    """Area of every box of (N, 4) in square pixels, (N,); 0 of one that is turned inside out."""
    areas: NDArray[np.float32] = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)
    return areas


def to_percent(boxes: Boxes, size_wh: tuple[int, int]) -> NDArray[np.float64]:
    """Label Studio's x, y, width, height in percent of the image: (N, 4), rounded to 4 digits.

    What lies outside the image is cut off, so that all four are in [0, 100] and
    neither x + width nor y + height is over 100.
    """
    low, high = _steps(boxes[:, :2], size_wh), _steps(boxes[:, 2:], size_wh)
    return np.concatenate([low, high - low], axis=1) / _STEPS_PER_PERCENT


def from_percent(percent: NDArray[np.floating], size_wh: tuple[int, int]) -> Boxes:
    """Pixel boxes from Label Studio's x, y, width, height in percent, (N, 4)."""
    low, extent = percent[:, :2], percent[:, 2:]
    corners = np.concatenate([low * size_wh, (low + extent) * size_wh], axis=1) / 100
    return corners.astype(np.float32)


def on_percent_grid(boxes: Boxes, size_wh: tuple[int, int]) -> Boxes:
    """The boxes, (N, 4), as Label Studio gives them back: rounded to 1/10000 percent."""
    return from_percent(to_percent(boxes, size_wh), size_wh)


def points_to_percent(
    points: NDArray[np.floating], size_wh: tuple[int, int]
) -> NDArray[np.float64]:
    """Points (M, 2), x and y in pixels, as percent of the image in [0, 100], to 4 digits."""
    return _steps(points, size_wh) / _STEPS_PER_PERCENT


def points_from_percent(
    percent: NDArray[np.floating], size_wh: tuple[int, int]
) -> NDArray[np.float64]:
    """Points (M, 2) in pixels from percent of the image."""
    return percent.astype(np.float64) * size_wh / 100


def _shared_sides(a: Boxes, b: Boxes, axis: int) -> NDArray[np.float32]:
    """How much of an axis, 0 is x, every box of `a` has in common with every box of `b`: (N, M)."""
    shared: NDArray[np.float32] = np.minimum.outer(a[:, axis + 2], b[:, axis + 2])
    shared -= np.maximum.outer(a[:, axis], b[:, axis])
    return shared.clip(min=0, out=shared)


def _steps(points: NDArray[np.floating], size_wh: tuple[int, int]) -> NDArray[np.float64]:
    """Whole steps of the percent grid, so that differences of two are exact."""
    percent = points.astype(np.float64) / size_wh * 100
    steps: NDArray[np.float64] = np.rint(percent.clip(0, 100) * _STEPS_PER_PERCENT)
    return steps
