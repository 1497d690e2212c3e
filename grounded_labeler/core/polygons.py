"""Masks as the polygon outlines that Label Studio draws."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.joining import join
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.thinning import FEWEST, MOST_COMPARED, Outline, has_crossing, thin

# Parts smaller than either are specks: not drawn, unless there is nothing larger.
_SPECK_PIXELS = 16
_SPECK_SHARE = 0.005  # of the largest part; for holes, of the part they are in
# All that is left out together, of the mask's area; for holes, of the part they are in.
_LEFT_OUT_SHARE = 0.01

# The steps of a slanting edge are no shape. A line from the depth of one to the height of
# another passes others by up to so many pixels.
_STEP = 1.5
_DIAGONAL_SHARE = 0.002
# No outline moves by more than this share of its part's thickness, so thin parts stay whole.
_THICKNESS_SHARE = 0.075
# How often the tolerance of outlines whose edges cross is halved.
_TRIES = 8
_POINTS_PER_CUT = 2  # the points that it joins come twice


@dataclass(frozen=True)
class LeftOut:
    """What polygons lack of a mask: how many parts and holes, and their pixels of how many."""

    parts: int = 0
    holes: int = 0
    pixels: float = 0.0
    of_pixels: float = 0.0

    @property
    def share(self) -> float:
        """The share of the mask's area, in [0, 0.02]."""
        return self.pixels / self.of_pixels if self.of_pixels else 0.0


def total_left_out(several: Iterable[LeftOut]) -> LeftOut:
    """What the polygons of several masks lack together."""
    every = list(several)
    return LeftOut(
        sum(one.parts for one in every),
        sum(one.holes for one in every),
        sum(one.pixels for one in every),
        sum(one.of_pixels for one in every),
    )


@dataclass(frozen=True, eq=False)
class Polygons:
    """The outlines of a mask, largest part first, and what they leave out."""

    outlines: tuple[Outline, ...]
    left_out: LeftOut


def to_polygons(
    mask: Mask, tolerance: float | None = None, max_points: int | None = None
) -> list[Outline]:
    """The outline of each part of the mask, as `trace` makes them; none for an empty mask."""
    return list(trace(mask, tolerance, max_points).outlines)


def trace(mask: Mask, tolerance: float | None = None, max_points: int | None = None) -> Polygons:
    """Trace the outline of each part of the mask, largest part first; none for an empty mask.

    Outlines run along the edges of pixels, inside [0, W] x [0, H], and have at
    least 3 points; the last is not the first again. They are simplified: a point
    may be left out when the line then moves by no more than `tolerance`, and in no
    case by more than 7.5 % of the part's thickness.

    Label Studio's polygons have no holes. A hole is joined to the outline around
    it by a cut there and back along the same line, so that filling the polygon
    by either rule, even-odd or non-zero, leaves the hole open. Specks are left
    out: parts under 16 pixels or half a percent of the largest part, and holes
    under half a percent of the part they are in; the smallest first, and only
    while all of them add up to no more than a percent of the mask, or of the part.
    So what is left out of a mask is never more than 2 % of its area.

    Args:
        mask: the mask of one object.
        tolerance: pixels, at least 0. None takes 0.2 % of the outline's diagonal, or 1.5 pixels
            if that is more.
        max_points: how many points an outline may have with its holes, at least 3. Where it has
            more, corners go that change the area least, beyond the tolerance, as `thin` does.
            Holes that are no specks stay all the same, with 3 points each and 2 for the cut: where
            there are too many of them for that, these come on top of `max_points`.
    """
    parts = sorted(_parts(mask), key=_part_area, reverse=True)
    if not parts:
        return Polygons((), LeftOut())
    areas = [_part_area(part) for part in parts]
    specks = _specks(areas, max(_SPECK_PIXELS, _SPECK_SHARE * areas[0]), sum(areas))
    count = max(1, len(parts) - specks)
    outlines, holes, filled = [], 0, 0.0
    for part in parts[:count]:
        kept = _without_small_holes(part)
        holes += len(part) - len(kept)
        filled += _part_area(kept) - _part_area(part)
        outlines.append(join(_simplify(kept, _part_area(part), tolerance, max_points)))
    pixels = sum(areas[count:]) + filled
    left_out = LeftOut(len(parts) - count, holes, pixels, sum(areas))
    return Polygons(tuple(outlines), left_out)


def _specks(areas: Iterable[float], smallest: float, whole: float) -> int:
    """How many of the smallest areas can be left out of a `whole`: none is `smallest` or larger."""
    small = np.array(sorted(area for area in areas if area < smallest))
    return int(np.searchsorted(small.cumsum(), _LEFT_OUT_SHARE * whole, side="right"))


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
    contours, hierarchy = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outlines = [
        _corners(contour[:, 0].astype(np.intp)) / 2 + (mask.left, mask.top) for contour in contours
    ]
    parents = [] if hierarchy is None else hierarchy[0][:, 3].tolist()
    parts = {i: [outlines[i]] for i, parent in enumerate(parents) if parent < 0}
    for i, parent in enumerate(parents):
        if parent >= 0:
            parts[parent].append(outlines[i])
    return list(parts.values())


def _corners(contour: NDArray[np.intp]) -> NDArray[np.intp]:
    """The corners, int (M, 2), of a contour on the fine grid, int (N, 2), point by point.

    OpenCV cuts corners that point into the shape: a hole of 28 pixels a side would lose
    an eighth of a pixel at each, and half a pixel a side once simplified. Each slanting
    step leads past the corner of a pixel, and corners are at even places.
    """
    after = np.roll(contour, -1, axis=0)
    slanting = np.flatnonzero((contour != after).all(axis=1))
    passed = np.where(contour % 2 == 0, contour, after)[slanting]
    edges: NDArray[np.intp] = np.insert(contour, slanting + 1, passed, axis=0)
    turns = edges - np.roll(edges, 1, axis=0) != np.roll(edges, -1, axis=0) - edges
    corners: NDArray[np.intp] = edges[turns.any(axis=1)]
    return corners


def _area(outline: Outline) -> float:
    return cv2.contourArea(outline.astype(np.float32))


def _length(outline: Outline) -> float:
    return cv2.arcLength(outline.astype(np.float32), closed=True)


def _part_area(part: list[Outline]) -> float:
    outer, *holes = part
    return _area(outer) - sum(map(_area, holes))


def _without_small_holes(part: list[Outline]) -> list[Outline]:
    """The outer outline and the holes that are no specks, largest first."""
    outer, *holes = part
    area = _part_area(part)
    holes.sort(key=_area, reverse=True)
    specks = _specks(map(_area, holes), _SPECK_SHARE * area, area)
    return [outer, *holes[: len(holes) - specks]]


def _simplify(
    part: list[Outline], area: float, tolerance: float | None, max_points: int | None
) -> list[Outline]:
    """A part of this `area` with fewer points."""
    thickness = 2 * area / sum(map(_length, part))
    limits = []
    for outline in part:
        thinnest = min(thickness, 2 * _area(outline) / _length(outline))
        diagonal = float(np.hypot(*np.ptp(outline, axis=0)))
        wanted = max(_STEP, _DIAGONAL_SHARE * diagonal) if tolerance is None else tolerance
        limits.append(min(wanted, _THICKNESS_SHARE * thinnest))
    simple = _approximate(part, limits)
    if tolerance is None and max_points is None:
        return simple
    if sum(map(len, simple)) <= MOST_COMPARED:
        for _ in range(_TRIES):
            if not has_crossing(simple):
                break
            limits = [limit / 2 for limit in limits]
            simple = _approximate(part, limits)
    if max_points is None:
        return simple
    holes = len(simple) - 1
    most = max_points - _POINTS_PER_CUT * holes
    if most < FEWEST * len(simple):
        # The holes alone are too many: the outer outline as a triangle would not mend that.
        most = max_points + FEWEST * holes
    return thin(simple, most)


def _approximate(part: Sequence[Outline], limits: Sequence[float]) -> list[Outline]:
    """Each outline with fewer points, by Douglas and Peucker's method."""
    simple = []
    for outline, limit in zip(part, limits, strict=True):
        points = cv2.approxPolyDP(outline.astype(np.float32), limit, closed=True)
        simple.append(points[:, 0].astype(np.float64))
    return simple
