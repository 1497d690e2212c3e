"""Images whose pixels are the numbers of classes or of objects."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grounded_labeler.coco import coco_area, coco_mask
from grounded_labeler.exports.types import ExportImage, ExportObject

LabelMap = NDArray[np.uint16]  # (H, W); 0 is the background

VOID = 65535  # nothing is known of such a pixel; in an image of 8 bits, 255, as in Pascal VOC
_MOST_OF_8_BITS = 254


def label_map(image: ExportImage, numbers: Iterable[int]) -> LabelMap:
    """Draw the masks of an image in `numbers`, one for each object; smaller objects lie on top.

    An object without a mask is somewhere in its box: what no mask takes of it is VOID.
    """
    pixels = np.zeros(image.size_hw, np.uint16)
    masked = []
    for one, number in zip(image.objects, numbers, strict=True):
        if one.mask is None:
            _draw_void(pixels, one)
        else:
            masked.append((coco_area(one.mask), one.mask, number))
    masked.reverse()  # of two of one size, the first is on top: it is the better one
    masked.sort(key=lambda entry: -entry[0])
    for _, encoded, number in masked:
        mask = coco_mask(encoded)
        height, width = mask.crop.shape
        rows, columns = slice(mask.top, mask.top + height), slice(mask.left, mask.left + width)
        pixels[rows, columns][mask.crop] = number
    return pixels


def is_deep(highest: int) -> bool:
    """Whether numbers up to `highest` need images of 16 bits."""
    return highest > _MOST_OF_8_BITS


def write_label_map(path: Path, pixels: LabelMap, *, deep: bool) -> None:
    """Write a PNG: of 8 bits with Pascal VOC's palette, or `deep`, grey of 16 bits.

    Raises OSError.
    """
    if deep:
        Image.fromarray(pixels).save(path, "PNG")
        return
    image = Image.fromarray(np.where(pixels == VOID, 255, pixels).astype(np.uint8))
    image.putpalette(palette().ravel().tolist())
    image.save(path, "PNG")


def palette() -> NDArray[np.uint8]:
    """Pascal VOC's colours, uint8 (256, 3) RGB: `VOClabelcolormap.m` of its development kit."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (numbers >> 3 * bit + channel & 1) << 7 - bit
    return colours.astype(np.uint8)


def _draw_void(pixels: LabelMap, one: ExportObject) -> None:
    left, top = np.floor(one.box[:2]).astype(int).tolist()
    right, bottom = np.ceil(one.box[2:]).astype(int).tolist()
    pixels[top:bottom, left:right] = VOID
