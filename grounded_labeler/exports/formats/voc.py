"""Pascal VOC: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.errors import ExportError
from grounded_labeler.exports.label_maps import is_deep, label_map, palette, write_label_map
from grounded_labeler.exports.types import ExportObject, PlacedDataset, PlacedImage
from grounded_labeler.preannotate.exporters.coco import MADE_BY
from grounded_labeler.preannotate.names import one_line


def write_voc(folder: Path, dataset: PlacedDataset) -> None:
    """A FormWriter: `Annotations/`, `ImageSets/`, and where there are masks `SegmentationClass/`.

    The images are in `JPEGImages/`. `SegmentationObject/` holds the numbers of objects in the
    order of the XML file. Raises ExportError for masks of more than 254 classes.
    """
    has_masks = any(
        one.mask is not None for placed in dataset.images for one in placed.image.objects
    )
    numbers = {name: number for number, name in enumerate(dataset.classes, 1)}
    if has_masks and is_deep(len(numbers)):
        raise ExportError(
            f"Pascal VOC's masks hold 254 classes, and here are {len(numbers)}: take png in the "
            "place of voc."
        )
    (folder / "Annotations").mkdir()
    _write_sets(folder, dataset, ("Main", "Segmentation") if has_masks else ("Main",))
    for placed in dataset.images:
        path = folder / "Annotations" / f"{placed.stem}.xml"
        root = _annotation(placed, has_masks=has_masks)
        ET.indent(root)
        ET.ElementTree(root).write(path, encoding="utf-8")
    if has_masks:
        _write_masks(folder, dataset.images, numbers)
    _write_label_map(folder / "labelmap.txt", dataset.classes)


def _write_label_map(path: Path, classes: Iterable[str]) -> None:
    """Name the colours of the masks, as CVAT and Datumaro do."""
    colours = palette().tolist()
    names = dict(enumerate(["background", *map(one_line, classes)]))
    rows = [(name, colours[number % 256]) for number, name in (names | {255: "ignored"}).items()]
    lines = [f"{name}:{','.join(map(str, colour))}::\n" for name, colour in rows]
    path.write_text("".join(["# label:color_rgb:parts:actions\n", *lines]), encoding="utf-8")


def _write_sets(folder: Path, dataset: PlacedDataset, kinds: Iterable[str]) -> None:
    sets = {split: dataset.of(split) for split in dataset.splits}
    sets["trainval"] = [one for one in dataset.images if one.split != "test"]
    for kind in kinds:
        below = folder / "ImageSets" / kind
        below.mkdir(parents=True)
        for name, images in sets.items():
            lines = "".join(f"{placed.stem}\n" for placed in images)
            (below / f"{name}.txt").write_text(lines, encoding="utf-8")


def _write_masks(folder: Path, images: Sequence[PlacedImage], numbers: Mapping[str, int]) -> None:
    classes, instances = folder / "SegmentationClass", folder / "SegmentationObject"
    classes.mkdir()
    instances.mkdir()
    most = max(len(placed.image.objects) for placed in images)
    for placed in images:
        image, name = placed.image, f"{placed.stem}.png"
        labels = [numbers[one.label] for one in image.objects]
        write_label_map(classes / name, label_map(image, labels), deep=False)
        objects = range(1, len(image.objects) + 1)
        write_label_map(instances / name, label_map(image, objects), deep=is_deep(most))


def _annotation(placed: PlacedImage, *, has_masks: bool) -> ET.Element:
    height, width = placed.image.size_hw
    root = ET.Element("annotation")
    _add(root, {"folder": "JPEGImages", "filename": placed.file_name})
    _add(ET.SubElement(root, "source"), {"database": MADE_BY})
    _add(ET.SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    _add(root, {"segmented": int(has_masks)})
    for one in placed.image.objects:
        box = _whole_pixels(one, (width, height))
        left, top, right, bottom = box.tolist()
        # As LabelImg has it: nobody can see how much lies outside.
        at_edge = left == 1 or top == 1 or right == width or bottom == height
        element = ET.SubElement(root, "object")
        _add(element, {"name": one_line(one.label), "pose": "Unspecified"})
        _add(element, {"truncated": int(at_edge), "difficult": 0})
        corners = {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}
        _add(ET.SubElement(element, "bndbox"), corners)
    return root


def _add(parent: ET.Element, values: Mapping[str, str | int]) -> None:
    for name, value in values.items():
        ET.SubElement(parent, name).text = str(value)


def _whole_pixels(one: ExportObject, size_wh: tuple[int, int]) -> NDArray[np.intp]:
    """The box in VOC's pixels, which count from 1 and belong to it, the last ones, too."""
    low = np.rint(one.box[:2]).astype(np.intp).clip(0, np.array(size_wh) - 1)
    high = np.rint(one.box[2:]).astype(np.intp).clip(low + 1, size_wh)
    return np.concatenate([low + 1, high])
