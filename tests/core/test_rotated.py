"""Boxes around masks that are turned where that makes them smaller."""

import cv2
import numpy as np
import pytest
from hypothesis import given

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.rotated import RotatedBox, box_to_draw, smallest_rotated_box
from tests.core.test_polygons import Pixels, blank, disc, ring, small_masks


def turned(width: float, height: float, degrees: float, size: int = 200) -> Pixels:
    """A rectangle in the middle, turned clockwise on the screen."""
    return fill(RotatedBox(size / 2, size / 2, width, height, degrees).corners(), size)


def fill(corners: object, size: int = 200) -> Pixels:
    large = np.zeros((size * 8, size * 8), np.float32)
    cv2.fillPoly(large, [np.rint(np.asarray(corners) * 8).astype(np.int32)], 1)
    return np.asarray(cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA) > 0.5)


def drawn(mask: Pixels) -> RotatedBox:
    box = box_to_draw(Mask.from_full(mask))
    assert box is not None
    return box


def signed(degrees: float) -> float:
    return (degrees + 180) % 360 - 180


@pytest.mark.parametrize("degrees", [-44, -30, -10, -3, 3, 10, 30, 44])
@pytest.mark.parametrize(("width", "height"), [(120, 40), (40, 120), (60, 60)])
def test_a_turned_rectangle_is_found(width: int, height: int, degrees: float) -> None:
    box = drawn(turned(width, height, degrees))
    assert (box.x, box.y) == pytest.approx((100, 100), abs=1)
    assert (box.width, box.height) == pytest.approx((width, height), abs=2.5)
    assert signed(box.degrees) == pytest.approx(degrees, abs=2)
    assert 0 <= box.degrees < 360


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(disc(100, (50, 50), 3), id="disc of 6 pixels"),
        pytest.param(disc(200, (100, 100), 90), id="disc"),
        pytest.param(ring(200, 90, 60), id="ring"),
        pytest.param(blank((10, 20, 70, 30)), id="upright"),
        pytest.param(blank((10, 20, 11, 21)), id="one pixel"),
        pytest.param(blank((10, 20, 90, 21)), id="a line"),
        pytest.param(blank((10, 20, 11, 90)), id="a standing line"),
        pytest.param(blank((0, 0, 100, 100)), id="the whole image"),
        pytest.param(turned(80, 80, 1), id="a square that leans by a degree"),
    ],
)
def test_what_gains_nothing_stays_upright(mask: Pixels) -> None:
    box = drawn(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert box.degrees == 0
    assert box.corners()[[0, 2]].ravel().tolist() == [
        columns[0], rows[0], columns[-1] + 1, rows[-1] + 1,
    ]  # fmt: skip


def test_a_slanting_line_one_pixel_wide_is_a_thin_box() -> None:
    box = drawn(np.eye(60, dtype=np.bool_))
    assert signed(box.degrees) == pytest.approx(45, abs=0.1)
    assert (box.width, box.height) == pytest.approx((60 * 2**0.5, 2**0.5), abs=0.1)


def test_a_concave_object_and_one_of_several_parts_have_one_box() -> None:
    corner = turned(120, 120, 30) & ~turned(118, 118, 30)
    for mask in (corner, turned(120, 40, 30) & ~turned(40, 60, 30)):
        assert signed(drawn(mask).degrees) == pytest.approx(30, abs=2)
    parts = turned(120, 40, 30) & ~turned(40, 60, 30)
    assert drawn(parts).width == pytest.approx(120, abs=2.5)


def test_a_speck_beside_an_object_does_not_count() -> None:
    mask = turned(120, 40, 30)
    alone = drawn(mask)
    mask[5:8, 190:193] = True
    assert drawn(mask) == alone
    mask[5:15, 180:193] = True  # 2.7 %
    assert drawn(mask) != alone


def test_an_object_at_the_edge_has_corners_outside() -> None:
    """The box is the smallest one all the same: Label Studio shows and saves such a one."""
    corners = RotatedBox(20, 100, 120, 40, 40).corners()
    assert corners[:, 0].min() < 0
    box = drawn(fill(corners))
    assert box.corners()[:, 0].min() < 0


def test_nothing_has_no_box() -> None:
    mask = Mask.from_full(np.zeros((5, 7), np.bool_))
    assert smallest_rotated_box(mask) is None
    assert box_to_draw(mask) is None


def test_the_crop_does_not_matter() -> None:
    crop = turned(60, 20, 25, size=80)
    here, there = Mask.from_full(crop), Mask(np.pad(crop, 3), 97, 17, (300, 400))
    one, other = box_to_draw(here), box_to_draw(there)
    assert one is not None and other is not None
    np.testing.assert_allclose(other.corners(), one.corners() + np.array([100, 20]), atol=1e-4)


@given(small_masks)
def test_every_pixel_is_inside_and_no_upright_box_is_smaller(mask: Pixels) -> None:
    box = smallest_rotated_box(Mask.from_full(mask))
    assert (box is None) == (not mask.any())
    if box is None:
        return
    assert 0 <= box.degrees <= 45 or 315 < box.degrees < 360
    y, x = np.nonzero(mask)
    corners = np.concatenate([np.stack([x + i, y + j], 1) for i in (0, 1) for j in (0, 1)])
    line = box.corners().astype(np.float32)
    away = [cv2.pointPolygonTest(line, (float(x), float(y)), measureDist=True) for x, y in corners]
    assert min(away) >= -0.01
    sides = corners.max(axis=0) - corners.min(axis=0)
    assert box.width * box.height <= sides.prod() * 1.001
