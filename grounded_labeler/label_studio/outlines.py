"""The outlines that people draw as polygons and vectors, read from Label Studio's results.

https://labelstud.io/tags/polygonlabels and https://labelstud.io/tags/vectorlabels have the forms.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.label_studio.shapes import finite

# A curve between two points of a vector is read as so many straight lines.
_STEPS = 16
# Where one end of a curve has no handle, the editor puts one at this share of the way.
_HANDLE = 0.3
_FEWEST = 3

_Point = NDArray[np.float64]  # (2,), percent


def outline_of(value: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """The outline in the value of a polygon or a vector, (M, 2) in percent; M is at least 3.

    None for a vector that is not closed, which is a line. Curves of vectors are read as straight
    lines, close to what the editor draws. Raises PromptError or ValueError for what is no outline.
    """
    if "vertices" in value:
        if value.get("closed") is not True:
            return None
        return _vector(value["vertices"])
    points = value.get("points")
    if not isinstance(points, list) or len(points) < _FEWEST:
        raise ValueError("a polygon has at least 3 points")
    return np.array([_pair(point) for point in points])


def _pair(point: object) -> tuple[float, float]:
    match point:
        case [x, y]:
            return finite(x), finite(y)
    raise ValueError("a point has two coordinates")


def _vector(vertices: object) -> NDArray[np.float64]:
    if not isinstance(vertices, list) or len(vertices) < _FEWEST:
        raise ValueError("a closed vector has at least 3 vertices")
    return np.concatenate([_edge(vertices[i - 1], own) for i, own in enumerate(vertices)])


def _edge(start: object, end: object) -> NDArray[np.float64]:
    """The points from one vertex to the next, without the first; a curve has handles at its ends.

    `controlPoint2` of a vertex is for the edge after it, `controlPoint1` for the edge before it.
    """
    a, b = _place(start), _place(end)
    after, before = _handle(start, "controlPoint2"), _handle(end, "controlPoint1")
    if after is None and before is None:
        return b[None]
    first = a + _HANDLE * (b - a) if after is None else after
    second = b - _HANDLE * (b - a) if before is None else before
    t = np.linspace(0, 1, _STEPS + 1)[1:, None]
    curve: NDArray[np.float64] = (
        (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * first + 3 * (1 - t) * t**2 * second + t**3 * b
    )
    return curve


def _place(vertex: object) -> _Point:
    match vertex:
        case {"x": x, "y": y}:
            return np.array([finite(x), finite(y)])
    raise ValueError("a vertex has two coordinates")


def _handle(vertex: object, name: str) -> _Point | None:
    if not isinstance(vertex, dict) or vertex.get("isBezier") is not True or not vertex.get(name):
        return None
    return _place(vertex[name])
