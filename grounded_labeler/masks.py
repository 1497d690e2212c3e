"""Masks as the polygon outlines that Label Studio draws."""

import cv2
import numpy as np
from numpy.typing import NDArray

from grounded_labeler.structures import Mask

Outline = NDArray[np.float64]  # (M, 2), x and y in pixels

# Parts smaller than both are specks: not drawn, unless there is nothing larger.
_SPECK_PIXELS = 16
_SPECK_SHARE = 0.005  # of the largest part; for holes, of the part they are in

# The steps of a slanting edge are up to a pixel deep: they are no shape.
_STEP = 1.0
# No outline moves by more than this share of its part's thickness, so thin parts stay whole.
_THICKNESS_SHARE = 0.05


def to_polygons(mask: Mask, tolerance: float = 0.002) -> list[Outline]:
    """The outline of each part of the mask, largest part first; none for an empty mask.

    Outlines run along the edges of pixels, inside [0, W] x [0, H], and have at
    least 3 points; the last is not the first again. They are simplified: a point
    may be left out when the line then moves by no more than `tolerance` times
    the outline's diagonal, or 1 pixel if that is more, and in no case by more
    than a twentieth of the part's thickness.

    Label Studio's polygons have no holes. A hole is joined to the outline around
    it by a cut there and back along the same line, so that filling the polygon
    by either rule, even-odd or non-zero, leaves the hole open. Specks are left
    out: parts under 16 pixels or half a percent of the largest part, and holes
    under half a percent of the part they are in.
    """
    parts = sorted(_parts(mask), key=_part_area, reverse=True)
    if not parts:
        return []
    smallest = max(_SPECK_PIXELS, _SPECK_SHARE * _part_area(parts[0]))
    large = parts[:1] + [part for part in parts[1:] if _part_area(part) >= smallest]
    return [_join(_simplify(part, tolerance)) for part in large]


def _parts(mask: Mask) -> list[list[Outline]]:
    """Each part's outlines, unsimplified: the outer one, then its holes, the other way round.

    OpenCV follows the centres of border pixels, half a pixel inside the shape, and
    a shape one pixel wide would have no area. So the mask is drawn on a grid twice
    as fine on which edges and corners of pixels have places of their own: pixel
    centres at odd places, grown by one to take in the edges around them.
    """
    height, width = mask.crop.shape
    fine = np.zeros((2 * height + 1, 2 * width + 1), np.uint8)
    fine[1::2, 1::2] = mask.crop
    fine = cv2.dilate(fine, np.ones((3, 3), np.uint8)).astype(np.uint8)
    contours, hierarchy = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = [contour[:, 0] / 2 + (mask.left, mask.top) for contour in contours]
    parents = [] if hierarchy is None else hierarchy[0][:, 3].tolist()
    parts = {i: [outlines[i]] for i, parent in enumerate(parents) if parent < 0}
    for i, parent in enumerate(parents):
        if parent >= 0:
            parts[parent].append(outlines[i])
    return list(parts.values())


def _area(outline: Outline) -> float:
    return cv2.contourArea(outline.astype(np.float32))


def _length(outline: Outline) -> float:
    return cv2.arcLength(outline.astype(np.float32), closed=True)


def _part_area(part: list[Outline]) -> float:
    outer, *holes = part
    return _area(outer) - sum(map(_area, holes))


def _simplify(part: list[Outline], tolerance: float) -> list[Outline]:
    """The part with fewer points, by Douglas and Peucker's method, and without small holes."""
    outer, *holes = part
    area = _part_area(part)
    kept = [outer, *(hole for hole in holes if _area(hole) >= _SPECK_SHARE * area)]
    thickness = 2 * area / sum(map(_length, kept))
    simple = []
    for outline in kept:
        diagonal = float(np.hypot(*np.ptp(outline, axis=0)))
        thinnest = min(thickness, 2 * _area(outline) / _length(outline))
        epsilon = min(max(_STEP, tolerance * diagonal), _THICKNESS_SHARE * thinnest)
        points = cv2.approxPolyDP(outline.astype(np.float32), epsilon, closed=True)
        simple.append(points[:, 0].astype(np.float64))
    return simple


def _join(part: list[Outline]) -> Outline:
    """One outline for a part and its holes, each joined where the two come closest.

    A cut that crosses another hole does no harm: it encloses nothing.
    """
    joined, *holes = part
    for hole in holes:
        gaps = np.linalg.norm(joined[:, None] - hole[None], axis=2)
        here, there = np.unravel_index(gaps.argmin(), gaps.shape)
        around = np.concatenate([hole[there:], hole[: there + 1]])
        joined = np.concatenate([joined[: here + 1], around, joined[here:]])
    return joined
