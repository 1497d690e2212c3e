"""Masks as COCO's run lengths: what pycocotools writes, and reads."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as rle

from grounded_labeler.coco import CocoRle, coco_area, coco_mask, coco_rle
from grounded_labeler.core.types import Mask

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
