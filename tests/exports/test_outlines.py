"""One outline encloses what several did."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_tools

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.polygons import to_polygons
from grounded_labeler.exports.outlines import box_corners, joined
from tests.exports.making import box_of, turned_of

SIDE = 96


def filled(outlines: list[NDArray[np.float64]]) -> NDArray[np.bool_]:
    flat = [outline.ravel().tolist() for outline in outlines]
    merged = coco_tools.merge(coco_tools.frPyObjects(flat, SIDE, SIDE))
    return np.asarray(coco_tools.decode(merged)) > 0


# Blocks of 8 pixels a side, so that no part or hole is a speck.
@given(arrays(np.bool_, (SIDE // 8, SIDE // 8), elements=st.booleans()))
def test_parts_and_holes_are_joined_without_loss(blocks: NDArray[np.bool_]) -> None:
    if not blocks.any():
        return
    pixels = np.kron(blocks, np.ones((8, 8), np.bool_))
    outlines = to_polygons(Mask.from_full(pixels))
    whole = joined(outlines)
    # Filling draws a pixel here and there along a slanting cut.
    off = filled(outlines) ^ filled([whole])
    assert off.sum() <= 0.02 * SIDE * len(outlines)
    assert _area(whole) == pytest.approx(sum(map(_area, outlines)))


def _area(outline: NDArray[np.float64]) -> float:
    x, y = outline.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def test_one_outline_stays_as_it_is() -> None:
    square = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    assert (joined([square]) == square).all()


def test_corners_go_round_clockwise_from_the_top_left() -> None:
    corners = [[1, 2], [30, 2], [30, 40], [1, 40]]
    assert box_corners(box_of("x", 1, 2, 30, 40)).tolist() == corners
    turned = turned_of("x", (50.0, 50.0, 20.0, 10.0), 90.0)
    expected = [[55, 40], [55, 60], [45, 60], [45, 40]]
    assert box_corners(turned) == pytest.approx(np.array(expected, float))
