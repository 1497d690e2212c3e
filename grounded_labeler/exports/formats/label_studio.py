"""Tasks that Label Studio imports: https://labelstud.io/guide/task_format."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote
from uuid import NAMESPACE_URL as _NAMESPACE
from uuid import uuid5
from xml.etree import ElementTree as ET

import numpy as np

from grounded_labeler.coco import coco_mask
from grounded_labeler.core.boxes import to_percent
from grounded_labeler.exports.types import ExportImage, ExportObject, PlacedDataset, PlacedImage
from grounded_labeler.label_studio.brush_rle import encode_rle
from grounded_labeler.label_studio.regions import SCORE_DIGITS
from grounded_labeler.preannotate.names import readable

_MODEL = "grounded-labeler"
_IMAGE, _BOXES, _MASKS = "image", "boxes", "masks"


def write_label_studio(folder: Path, dataset: PlacedDataset) -> None:
    """A FormWriter: `tasks.json` and the `label_config.xml` it is for.

    What people drew becomes annotations, what models found predictions. An object is a brush
    region if it has a mask, else a rectangle. An image without an address of its own is a file
    below Label Studio's local files, whose root is this folder.
    """
    tasks = [_task(dataset, placed) for placed in dataset.images]
    (folder / "tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
    root = _label_config(dataset.classes)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    (folder / "label_config.xml").write_text(f"{text}\n", encoding="utf-8")


def _label_config(classes: Sequence[str]) -> ET.Element:
    view = ET.Element("View")
    ET.SubElement(view, "Image", name=_IMAGE, value=f"${_IMAGE}")
    for tag, name in (("RectangleLabels", _BOXES), ("BrushLabels", _MASKS)):
        control = ET.SubElement(view, tag, name=name, toName=_IMAGE)
        for one in classes:
            ET.SubElement(control, "Label", value=one)
    return view


def _task(dataset: PlacedDataset, placed: PlacedImage) -> dict[str, object]:
    image = placed.image
    if image.address is not None:
        address = image.address
    else:
        path = f"images/{placed.file_name}" if dataset.has_files else image.name
        address = f"/data/local-files/?d={quote(path, errors='surrogateescape')}"
    data = {_IMAGE: address, "source": readable(image.name), "split": placed.split}
    if image.group:
        data["group"] = _text(image.group)
    name = _text(image.name)
    result = [
        {**_region(image, one), "id": uuid5(_NAMESPACE, f"{name}\n{number}").hex}
        for number, one in enumerate(image.objects)
    ]
    if image.is_annotated or any(one.score is None for one in image.objects):
        return {"data": data, "annotations": [{"result": result}]}
    scores = [one.score for one in image.objects if one.score is not None]
    prediction: dict[str, object] = {"model_version": _MODEL, "result": result}
    if scores:
        prediction["score"] = round(sum(scores) / len(scores), SCORE_DIGITS)
    return {"data": data, "predictions": [prediction]}


def _text(name: str) -> str:
    """The name, with bytes that are not UTF-8 as escapes: of a file, it may hold some."""
    return name.encode("utf-8", "backslashreplace").decode()


def _region(image: ExportImage, one: ExportObject) -> dict[str, object]:
    height, width = image.size_hw
    region: dict[str, object] = {
        "to_name": _IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    }
    if one.score is not None:
        region["score"] = round(one.score, SCORE_DIGITS)
    if one.mask is not None:
        value: Mapping[str, object] = {"format": "rle", "rle": encode_rle(coco_mask(one.mask))}
        return region | _drawn(_MASKS, "brushlabels", value, one)
    return region | _drawn(_BOXES, "rectanglelabels", _rectangle(image, one), one)


def _drawn(
    control: str, kind: str, value: Mapping[str, object], one: ExportObject
) -> dict[str, object]:
    return {"from_name": control, "type": kind, "value": {**value, kind: [one.label]}}


def _rectangle(image: ExportImage, one: ExportObject) -> dict[str, object]:
    """The value of a rectangle, in percent; a turned one begins at its own top left corner."""
    height, width = image.size_hw
    if one.rotated is None:
        [[x, y, wide, high]] = to_percent(one.box[np.newaxis], (width, height)).tolist()
        return {"x": x, "y": y, "width": wide, "height": high, "rotation": 0}
    turned = one.rotated
    corner = turned.corners()[0] * 100 / (width, height)
    sides = np.array([turned.width, turned.height]) * 100 / (width, height)
    x, y, wide, high = np.concatenate([corner, sides]).round(SCORE_DIGITS).tolist()
    return {"x": x, "y": y, "width": wide, "height": high, "rotation": turned.degrees}
