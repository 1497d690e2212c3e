"""What predictions cost Label Studio itself: `python -m benchmarks.label_studio`.

A real one, with SQLite, is started on loopback, as `make e2e` does and needs it; each mask is
a ragged disk of a tenth of the image's sides.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console

from benchmarks.report import Record, print_records
from e2e.configs import BOXES, MASKS, view
from e2e.label_studio import LEGACY_TOKEN, LabelStudio, run_label_studio
from grounded_labeler.core.masks import Mask
from grounded_labeler.demo.process import HERE
from grounded_labeler.label_studio.brush_rle import encode_rle
from grounded_labeler.label_studio_api.project import Project

_TASKS, _CHUNK, _MASKS = 320, 16, 10
_CASES: Sequence[tuple[str, tuple[int, int]]] = (
    ("boxes", (1920, 1080)),
    ("masks", (640, 480)),
    ("masks", (1920, 1080)),
    ("masks", (4000, 3000)),
)


def main() -> None:
    """Import predictions, and print what it took and what it left in the database."""
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "label-studio"
        with run_label_studio(home) as label_studio:
            for kind, size_wh in _CASES:
                sys.stderr.write(f"{kind}, {size_wh}\n")
                records.append(_measured(label_studio, home, kind, size_wh))
    print_records(
        f"{_TASKS} tasks, {_MASKS} regions each, imported {_CHUNK} at a time", records, Console()
    )


def _measured(label_studio: LabelStudio, home: Path, kind: str, size_wh: tuple[int, int]) -> Record:
    number = label_studio.project(f"{kind} {size_wh}", view(BOXES, MASKS))
    url = f"{label_studio.url}/api/projects/{number}/import"
    headers = {"Authorization": f"Token {LEGACY_TOKEN}"}
    HERE.post(
        url, json=[{"image": "https://example.com/a.jpg"}] * _TASKS, headers=headers, timeout=110
    ).raise_for_status()
    tasks = [task["id"] for task in label_studio.tasks(number)]
    regions = [_region(kind, size_wh, seed) for seed in range(_MASKS)]
    prediction = {"result": regions, "score": 0.5, "model_version": "v"}
    project, before = Project(label_studio.url, LEGACY_TOKEN, number), _size(home)
    begin = time.monotonic()
    for chunk in _chunks(tasks):
        project.add(dict.fromkeys(chunk, prediction), "v")
    imported = time.monotonic() - begin
    grown = _size(home) - before
    begin = time.monotonic()
    left, done = project.tasks("v")
    listed = time.monotonic() - begin
    assert (len(left), len(done)) == (0, _TASKS)
    return {
        "what": kind,
        "image": "x".join(map(str, size_wh)),
        "JSON of a region, bytes": len(json.dumps(regions)) / _MASKS,
        "database, bytes a region": grown / _TASKS / _MASKS,
        "tasks imported a second": _TASKS / imported,
        "tasks listed a second": _TASKS / listed,
    }


def _region(kind: str, size_wh: tuple[int, int], seed: int) -> dict[str, Any]:
    width, height = size_wh
    region: dict[str, Any] = {
        "id": f"region{seed}", "to_name": "image", "original_width": width,
        "original_height": height, "image_rotation": 0, "score": 0.5,
    }  # fmt: skip
    if kind == "boxes":
        value = {"x": 1.5, "y": 2.5, "width": 10.25, "height": 10.75, "rotation": 0}
        named = {"from_name": "boxes", "type": "rectanglelabels"}
        return region | named | {"value": value | {"rectanglelabels": ["Star"]}}
    rle = encode_rle(_ragged_disk(size_wh, seed))
    named = {"from_name": "masks", "type": "brushlabels"}
    return region | named | {"value": {"format": "rle", "rle": rle, "brushlabels": ["Star"]}}


def _ragged_disk(size_wh: tuple[int, int], seed: int) -> Mask:
    """Its radius changes by up to a tenth along the edge."""
    rng = np.random.default_rng(seed)
    width, height = size_wh
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radii = min(size_wh) / 10 * rng.uniform(0.9, 1.1, angles.size)
    middle = rng.uniform(0.2, 0.8, 2) * size_wh
    outline = middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    full = np.zeros((height, width), np.uint8)
    cv2.fillPoly(full, [outline.round().astype(np.int32)], 1)
    return Mask.from_full(full.astype(np.bool_))


def _chunks(tasks: Sequence[int]) -> Iterator[Sequence[int]]:
    return (tasks[first : first + _CHUNK] for first in range(0, len(tasks), _CHUNK))


def _size(home: Path) -> int:
    return sum(file.stat().st_size for file in (home / "data").glob("*.sqlite3*"))


if __name__ == "__main__":
    main()
