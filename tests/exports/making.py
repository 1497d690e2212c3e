"""Images and objects to export."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grounded_labeler.coco import coco_box, coco_rle
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.rotated import RotatedBox
from grounded_labeler.errors import ImageError
from grounded_labeler.exports.types import (
    ExportImage,
    ExportObject,
    PlacedDataset,
    PlacedImage,
)

SIZE_HW = (80, 120)


def png(size_hw: tuple[int, int] = SIZE_HW, value: int = 120) -> bytes:
    file = BytesIO()
    Image.new("RGB", size_hw[::-1], (value, 40, 200)).save(file, "PNG")
    return file.getvalue()


def image_of(
    name: str,
    *objects: ExportObject,
    group: str = "",
    size_hw: tuple[int, int] = SIZE_HW,
    data: bytes | str | None = None,
) -> ExportImage:
    """An image; `data` is its file, or the sentence why it cannot be had."""

    def read() -> bytes:
        if isinstance(data, str):
            raise ImageError(data)
        return png(size_hw) if data is None else data

    return ExportImage(name, size_hw, objects, group, read)


def box_of(label: str, *xyxy: float, score: float | None = None) -> ExportObject:
    return ExportObject(label, np.array(xyxy, np.float32), score=score)


def mask_of(label: str, pixels: NDArray[np.bool_], score: float | None = None) -> ExportObject:
    rle = coco_rle(Mask.from_full(pixels))
    return ExportObject(label, coco_box(rle), rle, score=score)


def turned_of(
    label: str,
    xywh: tuple[float, float, float, float],
    degrees: float,
    score: float | None = None,
) -> ExportObject:
    """A turned box by its centre and sides."""
    turned = RotatedBox(*xywh, degrees)
    corners = turned.corners()
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)
    return ExportObject(label, box, rotated=turned, score=score)


def frame(size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.bool_]:
    """A mask with a hole."""
    pixels = np.zeros(size_hw, np.bool_)
    pixels[10:50, 20:70] = True
    pixels[20:40, 32:58] = False
    return pixels


def two_parts(size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.bool_]:
    """A mask in two parts, one of which reaches the last pixel of the image."""
    pixels = np.zeros(size_hw, np.bool_)
    pixels[60:75, 5:25] = True
    pixels[55:, 90:] = True
    return pixels


def placed(
    images: Sequence[tuple[str, ExportImage]], *classes: str, splits: tuple[str, ...] = ("train",)
) -> PlacedDataset:
    """A dataset of images by split; the files' names are those of the images."""
    return PlacedDataset(
        tuple(PlacedImage(n, image.name, side, image) for n, (side, image) in enumerate(images, 1)),
        classes,
        splits,
        has_files=True,
    )
