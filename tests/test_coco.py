"""Masks as COCO's run lengths: what pycocotools writes, and reads."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as rle

from grounded_labeler.coco import (
    CocoRle,
    checked_coco_rle,
    coco_area,
    coco_box,
    coco_mask,
    coco_rle,
    coco_rle_of_polygons,
    union_of_coco_rles,
)
from grounded_labeler.core.masks import Mask

CHANCE = np.random.default_rng(0)


def ellipse(height: int, width: int) -> NDArray[np.bool_]:
    y, x = np.mgrid[:height, :width]
    inside: NDArray[np.bool_] = (2 * y / height - 0.9) ** 2 + (2 * x / width - 1.3) ** 2 < 0.3
    return inside


def agree(mask: Mask) -> None:
    pixels = mask.full()
    theirs: dict[str, Any] = rle.encode(np.asfortranarray(pixels.astype(np.uint8)))
    ours = coco_rle(mask)
    assert ours == CocoRle(size=list(pixels.shape), counts=theirs["counts"].decode())
    assert coco_area(ours) == pixels.sum()
    back = coco_mask(ours)
    np.testing.assert_array_equal(back.full(), pixels)
    assert back.crop.shape == mask.trimmed().crop.shape


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_small_masks_with_any_edge(density: float) -> None:
    for _ in range(300):
        height, width = CHANCE.integers(1, 7, 2)
        pixels = CHANCE.random((height, width)) < density
        agree(Mask.from_full(pixels))
        agree(Mask(pixels, 3, 2, (int(height) + 4, int(width) + 3)))


@pytest.mark.parametrize("size_hw", [(1500, 2000), (3000, 20), (20, 3000), (1, 90_000)])
def test_long_runs(size_hw: tuple[int, int]) -> None:
    agree(Mask.from_full(ellipse(*size_hw)))
    agree(Mask.from_full(~ellipse(*size_hw)))


def test_a_box_lies_tightly_around_its_pixels() -> None:
    mask = Mask(np.ones((3, 5), np.bool_), 7, 2, (10, 20))
    assert coco_box(coco_rle(mask)).tolist() == [7, 2, 12, 5]
    assert coco_box(coco_rle(Mask.from_full(np.zeros((4, 5), np.bool_)))).tolist() == [0] * 4
    for _ in range(300):
        pixels = CHANCE.random(CHANCE.integers(1, 7, 2)) < 0.2
        if pixels.any():
            ys, xs = np.nonzero(pixels)
            tight = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            assert coco_box(coco_rle(Mask.from_full(pixels))).tolist() == tight


def test_polygons_are_filled_to_the_edges_of_pixels() -> None:
    square = np.array([[1, 1], [4, 1], [4, 3], [1, 3]], np.float64)
    pixels = coco_mask(coco_rle_of_polygons([square, square + 4], (8, 9))).full()
    expected = np.zeros((8, 9), np.bool_)
    expected[1:3, 1:4] = expected[5:7, 5:8] = True
    np.testing.assert_array_equal(pixels, expected)


def test_outlines_that_would_take_gigabytes_are_refused() -> None:
    zigzag = np.array([[0, 0], [9999, 0]] * 1000, np.float64)
    with pytest.raises(ValueError, match="at most 4,000,000 pixels long"):
        coco_rle_of_polygons([zigzag], (10_000, 10_000))


def test_a_union_has_the_pixels_of_each_mask() -> None:
    pixels = CHANCE.random((3, 6, 7)) < 0.3
    union = union_of_coco_rles([coco_rle(Mask.from_full(one)) for one in pixels])
    np.testing.assert_array_equal(coco_mask(union).full(), pixels.any(axis=0))
    single = coco_rle(Mask.from_full(pixels[0]))
    assert union_of_coco_rles([single]) == single


def test_run_lengths_of_others_are_taken_where_they_count_every_pixel_once() -> None:
    for _ in range(200):
        pixels = CHANCE.random(CHANCE.integers(1, 9, 2)) < 0.5
        size_hw = (pixels.shape[0], pixels.shape[1])
        ours = coco_rle(Mask.from_full(pixels))
        edges = np.flatnonzero(np.diff(pixels.ravel("F"), prepend=False))
        lengths = np.diff(edges, prepend=0, append=pixels.size).tolist()
        assert checked_coco_rle(ours["counts"], size_hw) == ours
        np.testing.assert_array_equal(coco_mask(checked_coco_rle(lengths, size_hw)).full(), pixels)


@pytest.mark.parametrize(
    "counts", ["", "o", "no!", "0", "é", "oooooooo0", "T4O0", [], [-1, 13], [5, 6], [2**40]]
)
def test_run_lengths_that_would_be_read_past_their_end_are_refused(
    counts: str | list[int],
) -> None:
    with pytest.raises(ValueError, match="counts must be"):
        checked_coco_rle(counts, (3, 4))
