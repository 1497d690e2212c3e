"""A dataset in COCO's format: https://cocodataset.org/#format-data."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.coco import CocoRle, coco_annotation, coco_area, unpacked_counts
from grounded_labeler.core.boxes import on_percent_grid
from grounded_labeler.core.rotated import RotatedBox
from grounded_labeler.label_studio.regions import SCORE_DIGITS
from grounded_labeler.preannotate.exporters import DatasetImage

MADE_BY = "Made by grounded-labeler"
# In this order, and `segmentation` also where there is no mask.
_KEYS = (
    "id", "image_id", "category_id", "score", "iscrowd", "segmentation", "bbox", "area",
)  # fmt: skip
_PIXEL_DIGITS = 2


@dataclass(frozen=True, eq=False)
class CocoObject:
    """One object: `box` is float32 (4,) xyxy in pixels, `score` None for what a person drew."""

    name: str
    box: NDArray[np.float32]
    mask: CocoRle | None
    score: float | None
    rotated: RotatedBox | None = None


@dataclass(frozen=True, eq=False)
class CocoImage:
    """An image of a dataset: its number, the name of its file, its size, and what is in it."""

    number: int
    file_name: str
    size_hw: tuple[int, int]
    objects: Sequence[CocoObject]


def write_coco(path: Path, categories: Iterable[str], images: Iterable[DatasetImage]) -> None:
    """A DatasetExporter: boxes are those that Label Studio has, `segmentation` holds the masks."""
    write_coco_dataset(path, categories, map(_of_run, images), for_trainers=False)


def write_coco_dataset(
    path: Path, categories: Iterable[str], images: Iterable[CocoImage], *, for_trainers: bool
) -> None:
    """Write images to `path`, with `categories` in this order before any others.

    Masks are packed run lengths. `for_trainers`, they are lists of numbers: pycocotools reads
    both, but trainers that hand `segmentation` to its `frPyObjects`, as DETR's does, read numbers
    alone; and categories have a `supercategory`, which RF-DETR's does not do without.
    A turned box has centre, width, height and degrees, clockwise, in `rotated_bbox`, a key of
    ours that other readers pass over. Raises OSError.
    """
    numbers = {name: number for number, name in enumerate(categories, 1)}
    listed: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for image in images:
        height, width = image.size_hw
        listed.append(
            {"id": image.number, "file_name": image.file_name, "width": width, "height": height}
        )
        for one in image.objects:
            annotation: dict[str, object] = {
                **coco_annotation(
                    one.box,
                    one.mask if one.mask is not None and coco_area(one.mask) else None,
                    id=len(annotations) + 1,
                    image_id=image.number,
                    category_id=numbers.setdefault(one.name, len(numbers) + 1),
                    score=round(one.score or 0.0, SCORE_DIGITS),
                )
            }
            if one.mask is not None and "segmentation" in annotation and for_trainers:
                runs = {"size": one.mask["size"], "counts": unpacked_counts(one.mask)}
                annotation["segmentation"] = runs
            keys = [key for key in _KEYS if key != "score" or one.score is not None]
            row = {key: annotation.get(key, []) for key in keys}
            if one.rotated is not None:
                row["rotated_bbox"] = list(_sides(one.rotated))
            annotations.append(row)
    listed_categories = [
        {"id": number, "name": name} | ({"supercategory": name} if for_trainers else {})
        for name, number in numbers.items()
    ]
    dataset = {
        "info": {"description": MADE_BY},
        "images": listed,
        "annotations": annotations,
        "categories": listed_categories,
    }
    path.write_text(json.dumps(dataset), encoding="utf-8")


def _of_run(image: DatasetImage) -> CocoImage:
    result = image.result
    height, width = result.size_hw
    boxes = on_percent_grid(result.boxes, (width, height))
    masks = result.masks or [None] * len(boxes)
    objects = [
        CocoObject(name, box, mask, float(score))
        for name, box, mask, score in zip(result.names, boxes, masks, result.scores, strict=True)
    ]
    return CocoImage(image.number, image.file_name, result.size_hw, objects)


def _sides(rotated: RotatedBox) -> Iterator[float]:
    for value in (rotated.x, rotated.y, rotated.width, rotated.height, rotated.degrees):
        yield round(value, _PIXEL_DIGITS)
