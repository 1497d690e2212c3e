"""Masks as the polygon outlines that Label Studio draws."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import Mask

Outline = NDArray[np.float64]  # (M, 2), x and y in pixels

# Parts smaller than either are specks: not drawn, unless there is nothing larger.
_SPECK_PIXELS = 16
_SPECK_SHARE = 0.005  # of the largest part; for holes, of the part they are in
# All that is left out together, of the mask's area; for holes, of the part they are in.
_LEFT_OUT_SHARE = 0.01

# A hole is joined to the closest of so many outlines, by one of so many of its points: to try
# all of thousands takes minutes and gigabytes, and a longer cut encloses as little.
_NEIGHBOURS = 64
_TRIED_POINTS = 16

# The steps of a slanting edge are no shape. A line from the depth of one to the height of
# another passes others by up to so many pixels.
_STEP = 1.5
# No outline moves by more than this share of its part's thickness, so thin parts stay whole.
_THICKNESS_SHARE = 0.075


class _Cut(NamedTuple):
    """From a point of an outline to the point `start` of the outline `number`, and back."""

    number: int
    start: int


def to_polygons(mask: Mask, tolerance: float = 0.002) -> list[Outline]:
    """The outline of each part of the mask, largest part first; none for an empty mask.

    Outlines run along the edges of pixels, inside [0, W] x [0, H], and have at
    least 3 points; the last is not the first again. They are simplified: a point
    may be left out when the line then moves by no more than `tolerance` times
    the outline's diagonal, or 1.5 pixels if that is more, and in no case by more
    than 7.5 % of the part's thickness.

    Label Studio's polygons have no holes. A hole is joined to the outline around
    it by a cut there and back along the same line, so that filling the polygon
    by either rule, even-odd or non-zero, leaves the hole open. Specks are left
    out: parts under 16 pixels or half a percent of the largest part, and holes
    under half a percent of the part they are in; the smallest first, and only
    while all of them add up to no more than a percent of the mask, or of the part.
    """
    parts = sorted(_parts(mask), key=_part_area, reverse=True)
    if not parts:
        return []
    areas = [_part_area(part) for part in parts]
    specks = _specks(areas, max(_SPECK_PIXELS, _SPECK_SHARE * areas[0]), sum(areas))
    large = parts[: max(1, len(parts) - specks)]
    return [_join(_simplify(part, tolerance)) for part in large]


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


def _simplify(part: list[Outline], tolerance: float) -> list[Outline]:
    """The part with fewer points, by Douglas and Peucker's method, and without small holes."""
    outer, *holes = part
    area = _part_area(part)
    holes.sort(key=_area, reverse=True)
    specks = _specks(map(_area, holes), _SPECK_SHARE * area, area)
    kept = [outer, *holes[: len(holes) - specks]]
    thickness = 2 * area / sum(map(_length, kept))
    simple = []
    for outline in kept:
        diagonal = float(np.hypot(*np.ptp(outline, axis=0)))
        thinnest = min(thickness, 2 * _area(outline) / _length(outline))
        epsilon = min(max(_STEP, tolerance * diagonal), _THICKNESS_SHARE * thinnest)
        points = cv2.approxPolyDP(outline.astype(np.float32), epsilon, closed=True)
        simple.append(points[:, 0].astype(np.float64))
    return simple


def _join(part: Sequence[Outline]) -> Outline:
    """One outline for a part and its holes, each joined to another where the two come closest.

    From left to right each hole is joined to the outer outline or to a hole before it. A cut
    that crosses others does no harm: it encloses nothing.
    """
    outer, *holes = part
    outlines = [outer, *sorted(holes, key=lambda hole: tuple(hole.min(axis=0)))]
    # For each outline, at which of its points which cuts begin.
    cuts: list[dict[int, list[_Cut]]] = [{} for _ in outlines]
    for number in range(1, len(outlines)):
        before = range(max(0, number - _NEIGHBOURS), number)
        step = -(-len(outlines[number]) // _TRIED_POINTS)
        hole = outlines[number][::step]
        near = np.concatenate([outlines[other] for other in before])
        gaps = np.linalg.norm(near[:, None] - hole[None], axis=2)
        place, there = np.unravel_index(gaps.argmin(), gaps.shape)
        ends = np.cumsum([len(outlines[other]) for other in before])
        other = int(np.searchsorted(ends, place, side="right"))
        here = int(place - (ends[other - 1] if other else 0))
        cuts[before[other]].setdefault(here, []).append(_Cut(number, int(there) * step))
    return _walk(outlines, cuts)


def _walk(outlines: Sequence[Outline], cuts: Sequence[Mapping[int, list[_Cut]]]) -> Outline:
    """Around the first outline and, where cuts begin, there, around the other and back."""
    points: list[NDArray[np.float64]] = []
    ahead = _steps(outlines[0], cuts[0], range(len(outlines[0])))
    ahead.reverse()
    while ahead:
        step = ahead.pop()
        if isinstance(step, _Cut):
            hole = outlines[step.number]
            around = [*range(step.start, len(hole)), *range(step.start + 1)]
            ahead += reversed(_steps(hole, cuts[step.number], around))
        else:
            points.append(step)
    return np.stack(points)


def _steps(
    outline: Outline, cuts: Mapping[int, list[_Cut]], order: Iterable[int]
) -> list[NDArray[np.float64] | _Cut]:
    """The points of an outline in `order`; after that where a cut begins, the cut and the point."""
    steps: list[NDArray[np.float64] | _Cut] = []
    left = dict(cuts)  # an order may come back to where it began: each cut is made once
    for index in order:
        steps.append(outline[index])
        for cut in left.pop(index, ()):
            steps += [cut, outline[index]]
    return steps
