"""Parts of a mask that no click touches go."""

import numpy as np
import pytest
from numpy.typing import NDArray

from grounded_labeler.core.components import tight_box, touched_parts
from grounded_labeler.core.masks import Mask

# Two squares and, at a corner of the second one, a pixel.
PIXELS = np.zeros((20, 30), np.bool_)
PIXELS[2:6, 3:7] = PIXELS[10:14, 20:24] = PIXELS[14, 24] = True
FIRST = PIXELS.copy()
FIRST[10:] = False


@pytest.mark.parametrize(
    ("points", "rest"),
    [
        ([(3, 2)], FIRST),
        ([(6.9, 5.9)], FIRST),
        ([(24.5, 14.5)], PIXELS & ~FIRST),  # what touches at a corner is connected
        ([(4, 4), (22, 12)], PIXELS),
        ([(4, 4), (0, 0)], FIRST),
        ([(0, 0)], PIXELS),  # beside everything: nothing is lost
        ([(30, 20)], PIXELS),  # the far corner of the image
    ],
)
def test_only_parts_with_a_click_in_them_stay(
    points: list[tuple[float, float]], rest: NDArray[np.bool_]
) -> None:
    mask = Mask.from_full(PIXELS)
    np.testing.assert_array_equal(touched_parts(mask, np.array(points)).full(), rest)


@pytest.mark.parametrize("edge", [(30, 5), (29, 20), (30, 20)])
def test_a_click_on_the_far_edge_of_the_image_touches_its_last_pixels(
    edge: tuple[float, float],
) -> None:
    pixels = FIRST.copy()
    pixels[:, 29] = True
    mask = Mask.from_full(pixels)
    np.testing.assert_array_equal(touched_parts(mask, np.array([(4, 4), edge])).full(), pixels)


def test_a_mask_may_be_stored_by_columns() -> None:
    mask = Mask(np.asfortranarray(PIXELS), 0, 0, PIXELS.shape)
    np.testing.assert_array_equal(touched_parts(mask, np.array([(3, 2)])).full(), FIRST)
    np.testing.assert_array_equal(mask.full(), PIXELS)


def test_an_empty_mask_and_no_points() -> None:
    empty = Mask.from_full(np.zeros((4, 5), np.bool_))
    assert not touched_parts(empty, np.array([(1.0, 1.0)])).any()
    mask = Mask.from_full(PIXELS)
    assert touched_parts(mask, np.zeros((0, 2))) is mask


def test_the_tight_box() -> None:
    assert tight_box(Mask.from_full(FIRST)).tolist() == [3, 2, 7, 6]
    assert tight_box(Mask.from_full(np.zeros((4, 5), np.bool_))).tolist() == [0, 0, 0, 0]
