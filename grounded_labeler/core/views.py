"""Which boxes of several views of one image are of parts that another view shows whole."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.tiling import Rectangle
from grounded_labeler.core.types import Boxes

# A box whose edge is nearer to a view's than this share of its side is of an object that is cut.
_EDGE_SHARE, _MIN_EDGE = 0.02, 2.0


def are_cut(boxes: Boxes, view: Rectangle, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell of which boxes, bool (N,), an edge lies at an edge of the view inside the image.

    `boxes` (N, 4) are in pixels of the image of `size_wh`; what lies outside the view counts as
    at its edge.
    """
    x0, y0, x1, y1 = view
    width, height = size_wh
    edge = max(_MIN_EDGE, _EDGE_SHARE * max(x1 - x0, y1 - y0))
    gaps = np.stack(
        [boxes[:, 0] - x0, boxes[:, 1] - y0, x1 - boxes[:, 2], y1 - boxes[:, 3]], axis=1
    )
    is_inner = np.array([x0 > 0, y0 > 0, x1 < width, y1 < height])
    return np.asarray(((gaps < edge) & is_inner).any(axis=1))


def are_whole_elsewhere(
    boxes: Boxes, view: int, views: Sequence[Rectangle], size_wh: tuple[int, int]
) -> NDArray[np.bool_]:
    """Tell of which boxes, bool (N,), of one tile another tile sees all, and more around it.

    What a tile cuts there another one shows whole: the box is of a part.

    Args:
        boxes: (N, 4) in pixels of the image.
        view: the number of the tile that they were found in.
        views: all tiles.
        size_wh: width and height of the image in pixels.
    """
    cut = are_cut(boxes, views[view], size_wh)
    better = np.zeros(len(boxes), np.bool_)
    rows = np.flatnonzero(cut)
    for number, other in enumerate(views):
        if number != view and len(rows) and _overlap(views[view], other):
            better[rows] |= ~are_cut(boxes[rows], other, size_wh)
    return better


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return (
        max(one[0], other[0]) < min(one[2], other[2])
        and max(one[1], other[1]) < min(one[3], other[3])
    )  # fmt: skip
