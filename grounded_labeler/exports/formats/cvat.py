"""CVAT for images 1.1: https://docs.cvat.ai/docs/manual/advanced/xml_format/."""

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from grounded_labeler.coco import CocoRle, coco_mask
from grounded_labeler.core.rotated import RotatedBox
from grounded_labeler.exports.types import ExportObject, PlacedDataset
from grounded_labeler.preannotate.names import one_line, readable

_DIGITS = 2


def write_cvat(folder: Path, dataset: PlacedDataset) -> None:
    """A FormWriter: `train.xml`, as a task of CVAT is of one split, with the images in `images/`.

    An object is a mask if it has one, else a box, turned where somebody turned it.
    """
    for split in dataset.splits:
        root = _annotations(dataset, split)
        ET.indent(root)
        path = folder / f"{split}.xml"
        ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _annotations(dataset: PlacedDataset, split: str) -> ET.Element:
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    task = ET.SubElement(ET.SubElement(root, "meta"), "task")
    ET.SubElement(task, "size").text = str(len(dataset.of(split)))
    labels = ET.SubElement(task, "labels")
    for name in dataset.classes:
        label = ET.SubElement(labels, "label")
        ET.SubElement(label, "name").text = one_line(name)
        ET.SubElement(label, "attributes")
    for number, placed in enumerate(dataset.of(split)):
        height, width = placed.image.size_hw
        image = ET.SubElement(
            root, "image", id=str(number), name=readable(dataset.name_of(placed)), subset=split,
            width=str(width), height=str(height),
        )  # fmt: skip
        for one in placed.image.objects:
            _add_object(image, one)
    return root


def _add_object(image: ET.Element, one: ExportObject) -> None:
    known = {
        "label": one_line(one.label),
        "source": "manual" if one.score is None else "auto",
        "occluded": "0",
        "z_order": "0",
    }
    if one.mask is not None:
        ET.SubElement(image, "mask", known, **_mask(one.mask))
        return
    if one.rotated is not None:
        ET.SubElement(image, "box", known, **_turned(one.rotated))
        return
    names = ("xtl", "ytl", "xbr", "ybr")
    corners = {name: _number(value) for name, value in zip(names, one.box.tolist(), strict=True)}
    ET.SubElement(image, "box", known, **corners)


def _mask(encoded: CocoRle) -> dict[str, str]:
    """The run lengths of the crop, row after row; the first one is of pixels outside."""
    mask = coco_mask(encoded)
    height, width = mask.crop.shape
    ends = np.flatnonzero(np.diff(mask.crop.ravel(), prepend=False, append=False))
    lengths = np.diff(ends, prepend=0, append=height * width)
    if not lengths[-1]:
        lengths = lengths[:-1]
    return {
        "rle": ", ".join(map(str, lengths.tolist())),
        "left": str(mask.left),
        "top": str(mask.top),
        "width": str(width),
        "height": str(height),
    }


def _turned(box: RotatedBox) -> dict[str, str]:
    """The box as it was before it was turned about its centre, and by how much, clockwise."""
    return {
        "xtl": _number(box.x - box.width / 2),
        "ytl": _number(box.y - box.height / 2),
        "xbr": _number(box.x + box.width / 2),
        "ybr": _number(box.y + box.height / 2),
        "rotation": _number(box.degrees),
    }


def _number(value: float) -> str:
    return f"{value:.{_DIGITS}f}"
