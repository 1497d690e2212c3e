"""Boxes that were turned, as Label Studio saves them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounded_labeler.core.rotated import RotatedBox
from grounded_labeler.errors import PromptError
from grounded_labeler.label_studio.shapes import (
    DrawnBox,
    box_around,
    read_shape,
    rotated_box_of,
)

SIZE = (400, 100)  # width, height: a percent of the one is four of the other


def rectangle(kind: str = "rectanglelabels", **value: float) -> dict[str, Any]:
    return {"type": kind, "value": {"x": 50, "y": 20, "width": 10, "height": 20, **value}}


def test_a_box_is_turned_in_pixels_about_its_upper_left_corner() -> None:
    """40 x 20 pixels at (200, 20); turned by 90 degrees it hangs down to the left of it."""
    box = rotated_box_of(rectangle(rotation=90), SIZE)
    assert box is not None
    np.testing.assert_allclose(
        box.corners(), [(200, 20), (200, 60), (180, 60), (180, 20)], atol=1e-9
    )
    assert (box.width, box.height, box.degrees) == (40, 20, 90)


def test_an_ellipse_is_turned_about_its_centre() -> None:
    value = {"x": 50, "y": 50, "radiusX": 5, "radiusY": 10, "rotation": 30}
    assert rotated_box_of({"type": "ellipse", "value": value}, SIZE) == RotatedBox(
        200, 50, 40, 20, 30
    )


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(rectangle(), id="no rotation"),
        pytest.param(rectangle(rotation=0), id="not rotated"),
        pytest.param(rectangle(rotation=360), id="all the way round"),
        pytest.param(rectangle(rotation=30, width=0), id="a line"),
        pytest.param({"type": "polygonlabels", "value": {"points": []}}, id="a polygon"),
        pytest.param({"type": "choices", "value": {"choices": ["a"]}}, id="no shape"),
    ],
)
def test_what_nobody_turned_has_no_rotated_box(item: dict[str, Any]) -> None:
    assert rotated_box_of(item, SIZE) is None


def test_degrees_are_those_of_one_turn() -> None:
    left = rotated_box_of(rectangle(rotation=-30), SIZE)
    right = rotated_box_of(rectangle(rotation=330), SIZE)
    assert left == right
    assert left is not None and left.degrees == 330


def test_a_box_without_a_position_is_one_sentence() -> None:
    with pytest.raises(PromptError, match="has no position"):
        rotated_box_of(rectangle(rotation=10, x=float("nan")), SIZE)


percent, side = st.floats(-20, 120), st.floats(0.5, 80) | st.floats(-80, -0.5)


@given(percent, percent, side, side, st.floats(1, 359))
def test_the_box_around_the_corners_is_that_of_the_shape(
    x: float, y: float, width: float, height: float, degrees: float
) -> None:
    item = rectangle(x=x, y=y, width=width, height=height, rotation=degrees)
    box, shape = rotated_box_of(item, SIZE), read_shape(item)
    assert box is not None and isinstance(shape, DrawnBox)
    corners = box.corners()
    around = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    np.testing.assert_allclose(around, box_around(shape, SIZE), atol=1e-3)
