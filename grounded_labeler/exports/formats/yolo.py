"""YOLO's text files, of boxes, of polygons and of turned boxes.

https://docs.ultralytics.com/datasets/detect/, /segment/ and /obb/ describe them. A line of a label
file is the number of the class, from 0, and coordinates as shares of the image's sides.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.coco import coco_mask
from grounded_labeler.core.polygons import to_polygons
from grounded_labeler.core.rotated import smallest_rotated_box
from grounded_labeler.exports.outlines import box_corners, joined
from grounded_labeler.exports.types import ExportObject, PlacedDataset
from grounded_labeler.preannotate.exporters.coco import MADE_BY
from grounded_labeler.preannotate.names import one_line

_DIGITS = 6


def write_yolo(folder: Path, dataset: PlacedDataset) -> None:
    """A FormWriter of boxes: centre, width and height."""
    _write(folder, dataset, _centre_and_sides)


def write_yolo_seg(folder: Path, dataset: PlacedDataset) -> None:
    """A FormWriter of polygons, one for each object.

    Parts and holes are joined by cuts there and back along one line. An object without a mask is
    the rectangle that it is.
    """
    _write(folder, dataset, _polygon)


def write_yolo_obb(folder: Path, dataset: PlacedDataset) -> None:
    """A FormWriter of turned boxes: four corners, which are moved to the edge where outside.

    The box is the one that somebody turned, else the smallest around the mask, else the upright
    one.
    """
    _write(folder, dataset, _turned_box)


def _write(
    folder: Path, dataset: PlacedDataset, points: Callable[[ExportObject], NDArray[np.float64]]
) -> None:
    numbers = {name: number for number, name in enumerate(dataset.classes)}
    for split in dataset.splits:
        labels = folder / "labels" / split
        labels.mkdir(parents=True)
        for placed in dataset.of(split):
            size_wh = placed.image.size_hw[::-1]
            lines = []
            for one in placed.image.objects:
                shares = (points(one) / size_wh).clip(0, 1).ravel()
                lines.append(f"{numbers[one.label]} {_text(shares)}\n")
            (labels / f"{placed.stem}.txt").write_text("".join(lines), encoding="utf-8")
    _write_yaml(folder / "data.yaml", dataset)


def _text(shares: Iterable[float]) -> str:
    return " ".join(f"{share:.{_DIGITS}f}" for share in shares)


def _write_yaml(path: Path, dataset: PlacedDataset) -> None:
    """Describe the dataset, as all versions of YOLO read it; a JSON text is YAML.

    Without `path`, images are looked for beside this file. `val` must be there, and is what is
    trained on where nothing was put aside.
    """
    sides = {split: f"images/{split}" for split in dataset.splits}
    sides.setdefault("val", sides["train"])
    lines = [f"# {MADE_BY}"]
    lines += [f"{side}: {folder}" for side, folder in sides.items()]
    names = [one_line(name) for name in dataset.classes]
    lines += [f"nc: {len(names)}", f"names: {json.dumps(names, ensure_ascii=False)}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _centre_and_sides(one: ExportObject) -> NDArray[np.float64]:
    """Two rows: the centre, and width and height."""
    low, high = one.box[:2].astype(np.float64), one.box[2:].astype(np.float64)
    return np.stack([(low + high) / 2, high - low])


def _polygon(one: ExportObject) -> NDArray[np.float64]:
    if one.mask is not None:
        return joined(to_polygons(coco_mask(one.mask)))
    return box_corners(one)


def _turned_box(one: ExportObject) -> NDArray[np.float64]:
    if one.rotated is None and one.mask is not None:
        smallest = smallest_rotated_box(coco_mask(one.mask))
        if smallest is not None:
            return smallest.corners()
    return box_corners(one)
