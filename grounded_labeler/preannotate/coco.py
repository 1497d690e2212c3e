"""Predictions as a COCO dataset: https://cocodataset.org/#format-data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as rle

from grounded_labeler.core.boxes import from_percent
from grounded_labeler.label_studio.brush_rle import decode_rle

Region = dict[str, Any]
MADE_BY = "Made by grounded-labeler"


@dataclass(frozen=True)
class DatasetImage:
    """An image of the displayed size `size_wh`, and the regions that were found in it."""

    number: int
    file_name: str
    size_wh: tuple[int, int]
    regions: Sequence[Region]


def label_of(region: Region) -> str:
    """The region's label, or the phrase that found it where no label fits."""
    values = region["value"].get(region["type"]) or region.get("meta", {}).get("text") or ["?"]
    return str(values[0])


def to_coco(names: Iterable[str], found: Iterable[DatasetImage]) -> dict[str, Any]:
    """Make the dataset of these images, with categories of these names.

    A region of another name makes a category of its own. Among the regions each object's
    box has its mask, if it has one, right after it.
    """
    categories = {name: number for number, name in enumerate(names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in found:
        width, height = image.size_wh
        images.append(
            {"id": image.number, "file_name": image.file_name, "width": width, "height": height}
        )
        for region in image.regions:
            if region["type"] == "brushlabels":
                annotations[-1] |= _mask(region)
                continue
            category = categories.setdefault(label_of(region), len(categories) + 1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.number,
                    "category_id": category,
                    "score": region["score"],
                    "iscrowd": 0,
                    "segmentation": [],
                    **_box(region),
                }
            )
    return {
        "info": {"description": MADE_BY},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": label} for label, number in categories.items()],
    }


def _box(region: Region) -> dict[str, Any]:
    value = region["value"]
    percent = np.array([[value[key] for key in ("x", "y", "width", "height")]])
    corners = from_percent(percent, (region["original_width"], region["original_height"]))[0]
    x0, y0, x1, y1 = (round(float(corner), 2) for corner in corners)
    width, height = round(x1 - x0, 2), round(y1 - y0, 2)
    return {"bbox": [x0, y0, width, height], "area": round(width * height, 2)}


def _mask(region: Region) -> dict[str, Any]:
    size_hw = (region["original_height"], region["original_width"])
    mask = decode_rle(region["value"]["rle"], size_hw)
    encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    segmentation = {"size": list(size_hw), "counts": encoded["counts"].decode("ascii")}
    return {"segmentation": segmentation, "area": int(mask.sum())}
