"""Shapes drawn on an image: where they lie, in which colour, with names that can be read."""

import numpy as np
import pytest
from numpy.typing import NDArray

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import RGBImage
from grounded_labeler.rendering import Shape, draw_shapes, draw_thumbnail


def grey(height: int, width: int) -> RGBImage:
    return np.full((height, width, 3), 90, np.uint8)


def box(*corners: float) -> NDArray[np.float32]:
    return np.array(corners, np.float32)


def changed(
    image: RGBImage, shapes: list[Shape]
) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
    return np.asarray((draw_shapes(image, shapes) != image).any(axis=2))


def test_nothing_to_draw_gives_the_same_pixels_in_another_image() -> None:
    image = grey(150, 200)
    drawn = draw_shapes(image, [])
    assert np.array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


def test_the_image_itself_stays_as_it_is() -> None:
    image = grey(150, 200)
    mask = Mask.from_full(np.ones((150, 200), np.bool_))
    draw_shapes(image, [Shape("a", 0.5, box(10, 30, 60, 90), mask)])
    assert (image == 90).all()


def test_a_box_is_outlined_up_to_its_last_pixel_and_its_inside_is_left() -> None:
    where = changed(grey(150, 200), [Shape("a", None, box(20, 60, 80, 100))])
    assert where[60:100, 20].all()
    assert where[60:100, 79].all()
    assert where[99, 20:80].all()
    assert not where[100:].any()
    assert not where[:, 80:].any()
    assert not where[65:95, 25:75].any()


def test_a_mask_is_tinted_inside_and_outlined_at_its_edge() -> None:
    full = np.zeros((150, 200), np.bool_)
    full[40:80, 50:110] = True
    drawn = draw_shapes(grey(150, 200), [Shape("a", mask=Mask.from_full(full))])
    assert np.array_equal((drawn != 90).any(axis=2), full)
    assert drawn[40, 80].tolist() == drawn[79, 80].tolist() == drawn[60, 50].tolist()
    assert drawn[60, 80].tolist() != drawn[40, 80].tolist()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 40), (40, 1), (40, 60)])
@pytest.mark.parametrize("density", [0.3, 0.97, 1.0])
def test_a_mask_leaves_a_fifth_of_its_colour_where_it_is_not_outlined(
    size_hw: tuple[int, int], density: float
) -> None:
    random, (height, width) = np.random.default_rng(0), size_hw
    image = random.integers(0, 256, (150, 200, 3), np.uint8)
    full = np.zeros((150, 200), np.bool_)
    full[100 : 100 + height, 7 : 7 + width] = random.random(size_hw) < density
    full[100, 7] = True
    color = (10, 200, 255)
    drawn = draw_shapes(image, [Shape("a", mask=Mask.from_full(full), color=color)])
    padded = np.pad(full, 2)  # lines of an image so small are two pixels wide
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    inner = np.asarray(windows.all(axis=(2, 3)))
    tinted = (image * 0.8 + np.array(color) * 0.2).astype(np.uint8)
    expected = np.where(inner[..., None], tinted, np.where(full[..., None], color, image))
    np.testing.assert_array_equal(drawn, expected)


def test_an_empty_mask_draws_nothing() -> None:
    empty = Mask.from_full(np.zeros((150, 200), np.bool_))
    assert not changed(grey(150, 200), [Shape("a", mask=empty)]).any()


def test_a_polygon_is_outlined() -> None:
    points = np.array([[30, 30], [90, 30], [90, 90], [30, 90]], np.float64)
    where = changed(grey(150, 200), [Shape("a", polygon=points)])
    assert where[30, 30:90].all()
    assert not where[40:80, 40:80].any()


def test_one_name_has_one_colour_and_another_name_another() -> None:
    shapes = [
        Shape("a", None, box(10, 40, 40, 70)),
        Shape("b", None, box(60, 40, 90, 70)),
        Shape("a", None, box(110, 40, 140, 70)),
    ]
    drawn = draw_shapes(grey(150, 200), shapes)
    first, second, third = (drawn[69, x].tolist() for x in (25, 75, 125))
    assert first == third != second


@pytest.mark.parametrize(
    ("size_hw", "corners"),
    [
        ((900, 120), (60, 100, 118, 200)),  # tall and narrow
        ((900, 120), (0, 0, 60, 80)),  # no room above
        ((100, 2000), (1900, 50, 2000, 90)),  # no room to the right
        ((3000, 4000), (3600, 100, 3990, 400)),
    ],
)
def test_a_name_is_written_whole_inside_the_image(
    size_hw: tuple[int, int], corners: tuple[float, ...]
) -> None:
    with_score = changed(grey(*size_hw), [Shape("Traffic light", 0.9, box(*corners))])
    only_box = changed(grey(*size_hw), [Shape("", None, box(*corners))])
    rows, columns = np.nonzero(with_score & ~only_box)
    # The box that a name is written in keeps its form where nothing is cut off.
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    assert width > 5 * height
    assert columns.max() < size_hw[1]


def test_a_tiny_image_is_enlarged_for_its_names() -> None:
    full = np.zeros((30, 40), np.bool_)
    full[10:20, 10:30] = True
    polygon = np.array([[10, 10], [30, 10], [30, 20]], np.float64)
    shape = Shape("Cat", 0.5, box(10, 10, 30, 20), Mask.from_full(full), polygon)
    drawn = draw_shapes(grey(30, 40), [shape])
    assert drawn.shape == (90, 120, 3)
    where = (drawn != 90).any(axis=2)
    assert where[35:60, 35:90].all()
    assert not where[61:].any()


def test_a_shape_may_have_a_colour_of_its_own_and_no_name() -> None:
    own = Shape("", 0.5, box(20, 60, 80, 100), color=(255, 140, 0))
    drawn = draw_shapes(grey(150, 200), [own, Shape("b", None, box(120, 60, 180, 100))])
    assert drawn[60, 40].tolist() == [255, 140, 0]
    assert np.array_equal(drawn[:60, :100], grey(60, 100)), "nothing is written"
    assert drawn[60, 150].tolist() != [255, 140, 0]


def test_thin_lines_are_half_as_wide() -> None:
    image = grey(1000, 1500)
    thick = changed(image, [Shape("a", None, box(200, 200, 800, 800))])
    thin = changed(image, [Shape("a", None, box(200, 200, 800, 800), is_thin=True)])
    assert thick[500, 200:300].sum() == 2 * thin[500, 200:300].sum()


def test_a_thumbnail_has_the_side_that_is_asked_for() -> None:
    assert draw_thumbnail(grey(300, 600), [], 400).size == (400, 200)
