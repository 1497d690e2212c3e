"""A dataset in COCO's format: https://cocodataset.org/#format-data."""

import json
from collections.abc import Iterable
from pathlib import Path

from grounded_labeler.coco import coco_annotation, coco_area
from grounded_labeler.core.boxes import on_percent_grid
from grounded_labeler.label_studio.regions import SCORE_DIGITS
from grounded_labeler.preannotate.exporters import DatasetImage

MADE_BY = "Made by grounded-labeler"
# In this order, and `segmentation` also where there is no mask.
_KEYS = (
    "id", "image_id", "category_id", "score", "iscrowd", "segmentation", "bbox", "area",
)  # fmt: skip


def write_coco(path: Path, categories: Iterable[str], images: Iterable[DatasetImage]) -> None:
    """A DatasetExporter: boxes are those that Label Studio has, `segmentation` holds the masks."""
    numbers = {name: number for number, name in enumerate(categories, 1)}
    listed: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for image in images:
        result = image.result
        height, width = result.size_hw
        listed.append(
            {"id": image.number, "file_name": image.file_name, "width": width, "height": height}
        )
        boxes = on_percent_grid(result.boxes, (width, height))
        masks = result.masks or [None] * len(boxes)
        for name, score, box, mask in zip(result.names, result.scores, boxes, masks, strict=True):
            annotation = coco_annotation(
                box,
                mask if mask is not None and coco_area(mask) else None,
                id=len(annotations) + 1,
                image_id=image.number,
                category_id=numbers.setdefault(name, len(numbers) + 1),
                score=round(float(score), SCORE_DIGITS),
            )
            annotations.append({key: annotation.get(key, []) for key in _KEYS})
    dataset = {
        "info": {"description": MADE_BY},
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    }
    path.write_text(json.dumps(dataset), encoding="utf-8")
