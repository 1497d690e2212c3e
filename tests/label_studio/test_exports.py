"""What README says of Label Studio's exports: which of the regions we send are in them.

Seen with its own converter, so that a newer one that keeps brush regions fails here.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.converter import Converter

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Detections
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.regions import encode_regions
from grounded_labeler.settings_types import Output
from tests.helpers.asking import BRUSH, IMAGE, POLYGONS, RECTANGLES, view

SIZE_WH = (40, 30)
FORMATS = ("COCO", "YOLO", "VOC")


def regions(config: str, output: Output) -> list[dict[str, Any]]:
    """One object, drawn as this service draws it with a segmenter."""
    full = np.zeros(SIZE_WH[::-1], np.bool_)
    full[5:20, 5:20] = True
    box = np.array([[5, 5, 20, 20]], np.float32)
    found = Detections(box, np.array([0.9], np.float32), ("circle",), ("Circle",))
    [target] = read_label_config(config).images
    return encode_regions(found, [Mask.from_full(full)], target, SIZE_WH, output)


def exported(folder: Path, config: str, result: list[dict[str, Any]], form: str) -> int:
    """How many objects Label Studio's converter makes of a saved annotation."""
    task = {"id": 1, "data": {"image": "http://x/a.jpg"}, "annotations": [{"result": result}]}
    source, out = folder / "tasks.json", folder / form
    source.write_text(json.dumps([task]))
    converter = Converter(config, str(folder), download_resources=False)
    converter.convert(str(source), str(out), form, is_dir=False)
    if form == "COCO":
        return len(json.loads((out / "result.json").read_text())["annotations"])
    if form == "YOLO":
        return sum(len(file.read_text().splitlines()) for file in out.glob("labels/*.txt"))
    return sum(file.read_text().count("<object>") for file in out.glob("Annotations/*.xml"))


@pytest.mark.parametrize(
    ("tags", "output", "expected"),
    [
        ((RECTANGLES, BRUSH), "auto", (0, 0, 0)),
        ((RECTANGLES, BRUSH), "boxes", (1, 1, 1)),
        ((RECTANGLES, BRUSH), "both", (1, 1, 1)),
        ((BRUSH,), "auto", (0, 0, 0)),
        ((RECTANGLES,), "auto", (1, 1, 1)),
        ((POLYGONS,), "auto", (1, 1, 0)),
        ((RECTANGLES, POLYGONS), "auto", (1, 1, 0)),
    ],
)
def test_what_label_studio_exports_of_our_regions(
    tmp_path: Path, tags: tuple[str, ...], output: Output, expected: tuple[int, ...]
) -> None:
    config = view(IMAGE, *tags)
    result = regions(config, output)
    assert result
    assert tuple(exported(tmp_path, config, result, form) for form in FORMATS) == expected
