"""Objects as one closed outline, for forms that have no other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from grounded_labeler.exports.types import ExportObject

Points = NDArray[np.float64]  # (M, 2), xy in pixels


def box_corners(one: ExportObject) -> Points:
    """The corners of the box, turned where somebody turned it, clockwise from the top left."""
    if one.rotated is not None:
        return one.rotated.corners()
    left, top, right, bottom = one.box.tolist()
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def joined(outlines: Sequence[Points]) -> Points:
    """Join at least one outline to one that encloses the same, by either rule of filling.

    The parts lie apart. Each is joined to what is nearest of those before it, by a cut there and
    back along one line, as Ultralytics' `merge_multi_segment` does.
    """
    whole, *others = outlines
    for other in others:
        distances, nearest = KDTree(whole).query(other)
        there = int(distances.argmin())
        here = int(nearest[there])
        around = np.concatenate([other[there:], other[: there + 1]])
        whole = np.concatenate([whole[: here + 1], around, whole[here:]])
    return whole
