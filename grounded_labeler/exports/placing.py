"""Every image of a dataset in its place, with its file beside what is written about it."""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from grounded_labeler.coco import coco_area, coco_box
from grounded_labeler.core.boxes import clip_boxes
from grounded_labeler.errors import ImageError
from grounded_labeler.exports.image_files import ImageFile, file_stems, image_file
from grounded_labeler.exports.types import ExportImage, ExportObject, LeftOut, PlacedImage
from grounded_labeler.interrupts import check

ImageFiles = Literal["copy", "link", "none"]


def objects_inside(image: ExportImage) -> ExportImage:
    """The image with the parts of its objects that lie inside it, and without the others.

    A mask without a pixel is none.
    """
    return replace(image, objects=tuple(_inside(image)))


def place(
    images: Sequence[ExportImage],
    sides: dict[str, str],
    folders: Sequence[dict[str, Path]],
    files: ImageFiles,
    *,
    max_pixels: int,
    stretch: bool = False,
) -> tuple[list[PlacedImage], list[LeftOut]]:
    """Write the image files, and return the images that are in the dataset, and the others.

    Args:
        images: each name once.
        sides: the split of each image, by its name.
        folders: for each form, where the image files of each split belong; these folders are
            there.
        files: what is written. A file is read and written once: further forms have it under
            another name.
        max_pixels: the most that an image may have.
        stretch: whether channels of more than 8 bits are stretched.

    Raises OSError.
    """
    placed: list[PlacedImage] = []
    left_out: list[LeftOut] = []
    stems = file_stems([image.name for image in images])
    for image, stem in zip(images, stems, strict=True):
        check()
        side = sides[image.name]
        if files == "none":
            name = f"{stem}{PurePosixPath(image.name).suffix}"
        else:
            try:
                file = image_file(
                    image.read(), image.size_hw, max_pixels=max_pixels, stretch=stretch
                )
            except ImageError as error:
                left_out.append(LeftOut(image.name, str(error)))
                continue
            name = f"{stem}{file.suffix}"
            source = image.path if files == "link" and file.is_original else None
            _write(file, source, [below[side] / name for below in folders])
        placed.append(PlacedImage(len(placed) + 1, name, side, objects_inside(image)))
    return placed, left_out


def class_names(known: Iterable[str], images: Iterable[ExportImage]) -> tuple[str, ...]:
    """The known names in their order, then those of objects that are not among them."""
    names = dict.fromkeys(known)
    names.update(dict.fromkeys(one.label for image in images for one in image.objects))
    return tuple(names)


def _write(file: ImageFile, source: Path | None, places: Sequence[Path]) -> None:
    first, *others = places
    if source is not None:
        for path in places:
            path.symlink_to(os.path.abspath(source))  # noqa: PTH100 - resolve() follows links
        return
    first.write_bytes(file.data)
    for path in others:
        try:
            path.hardlink_to(first)
        except OSError:  # some file systems have no links
            shutil.copyfile(first, path)


def _inside(image: ExportImage) -> Iterator[ExportObject]:
    height, width = image.size_hw
    for one in image.objects:
        mask = one.mask if one.mask is not None and coco_area(one.mask) else None
        [box] = clip_boxes(one.box[np.newaxis], (width, height))
        if not (box[:2] < box[2:]).all():  # nor with NaN
            if mask is None:
                continue
            box = coco_box(mask)
        yield replace(one, box=box, mask=mask)
