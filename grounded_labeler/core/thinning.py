"""Polygons with fewer points: corners go that change the area least, and nothing comes to cross."""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Outline = NDArray[np.float64]  # (M, 2), x and y in pixels; the last point is not the first again

# To compare each edge with each other one takes minutes for more points than this.
MOST_COMPARED = 3000
FEWEST = 3
# Each edge is compared with each other one, so many at a time.
_CHUNK = 256


def thin(rings: Sequence[Outline], most: int) -> list[Outline]:
    """Leave out corners of a part's outlines until they have `most` points together.

    The corner whose triangle with its neighbours is smallest goes first, as in Visvalingam and
    Whyatt, "Line generalisation by repeated elimination of points" (1993). One whose triangle
    holds another point stays, because an edge would then cross another one; only where no other
    corner is left does it go as well. No ring gets fewer than 3 points, so that many rings may
    have more than `most`. Outlines of more than 3,000 points lose so many first without a look at
    what crosses.
    """
    outlines = _Outlines(rings)
    outlines.thin(max(most, MOST_COMPARED), may_cross=True)
    outlines = _Outlines(outlines.rings())  # without the points that are gone
    outlines.thin(most, may_cross=False)
    outlines.thin(most, may_cross=True)
    return outlines.rings()


class _Outlines:
    """Outlines as linked lists over one array of points; a point that is left out is NaN."""

    def __init__(self, rings: Sequence[Outline]) -> None:
        self._points = np.concatenate(rings)
        # To reach one point of an array takes ten times as long.
        self._x: list[float] = self._points[:, 0].tolist()
        self._y: list[float] = self._points[:, 1].tolist()
        sizes = [len(ring) for ring in rings]
        starts = np.cumsum([0, *sizes[:-1]])
        self._ring: list[int] = np.repeat(np.arange(len(rings)), sizes).tolist()
        self._sizes, self._total = sizes, sum(sizes)
        self._is_gone = [False] * self._total
        spans = [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]
        self._before = [i - 1 if i > span.start else span[-1] for span in spans for i in span]
        self._after = [i + 1 if i < span[-1] else span.start for span in spans for i in span]

    def thin(self, most: int, *, may_cross: bool) -> None:
        """Leave out points until `most` are left, or none can go."""
        heap = [(self._area(i), i) for i in self._left() if self._sizes[self._ring[i]] > FEWEST]
        heapq.heapify(heap)
        waiting: dict[int, list[int]] = {}  # on a point in their triangle
        while heap and self._total > most:
            area, i = heapq.heappop(heap)
            if self._is_gone[i] or area != self._area(i):
                continue  # it was left out, or has other neighbours by now
            if self._sizes[self._ring[i]] <= FEWEST:
                continue
            if not may_cross and (other := self._in_triangle(i)) is not None:
                waiting.setdefault(other, []).append(i)
                continue
            before, after = self._before[i], self._after[i]
            self._after[before], self._before[after] = after, before
            self._points[i], self._is_gone[i] = np.nan, True
            self._sizes[self._ring[i]] -= 1
            self._total -= 1
            for changed in (before, after, *waiting.pop(i, ())):
                heapq.heappush(heap, (self._area(changed), changed))

    def rings(self) -> list[Outline]:
        left = self._left()
        return np.split(self._points[left], np.cumsum(self._sizes)[:-1])

    def _left(self) -> list[int]:
        return [int(i) for i in np.flatnonzero(~np.isnan(self._points[:, 0]))]

    def _area(self, i: int) -> float:
        """The area of the triangle of a point and its neighbours, twice."""
        a, c, x, y = self._before[i], self._after[i], self._x, self._y
        return abs((x[i] - x[a]) * (y[c] - y[a]) - (y[i] - y[a]) * (x[c] - x[a]))

    def _in_triangle(self, i: int) -> int | None:
        """A point of another place that is in the triangle of this one, or on its edge."""
        corners = [self._before[i], i, self._after[i]]
        a, b, c = self._points[corners]
        low, high = self._points[corners].min(axis=0), self._points[corners].max(axis=0)
        with np.errstate(invalid="ignore"):
            near = np.flatnonzero(((self._points >= low) & (self._points <= high)).all(axis=1))
        near = near[~np.isin(near, corners)]
        points = self._points[near]
        sides = np.stack([_side(a, b, points), _side(b, c, points), _side(c, a, points)])
        inside = (sides >= 0).all(axis=0) | (sides <= 0).all(axis=0)
        # Outlines may touch at a corner; the new edge ends at these two.
        inside &= (points != a).any(axis=1) & (points != c).any(axis=1)
        found = near[inside]
        return int(found[0]) if len(found) else None


def _side(a: Outline, b: Outline, points: Outline) -> NDArray[np.float64]:
    """On which side of the line from `a` to `b` each point is: positive, negative, or 0 on it."""
    along, to = b - a, points - a
    side: NDArray[np.float64] = along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0]
    return side


def has_crossing(rings: Sequence[Outline]) -> bool:
    """Whether two edges of the rings cross; edges that only touch do not."""
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    for first in range(0, len(start), _CHUNK):
        a, b = (points[first : first + _CHUNK, None] for points in (start, end))
        apart = _side(a, b, start[None]) * _side(a, b, end[None]) < 0
        apart &= _side(start[None], end[None], a) * _side(start[None], end[None], b) < 0
        if apart.any():
            return True
    return False
