"""Bitmasks in the editor, and what Label Studio's own exports keep of which mask."""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from playwright.sync_api import Page

from e2e.configs import BITMASKS, IMAGE, MASKS, POLYGONS, view
from e2e.label_studio import LEGACY_TOKEN, LabelStudio, Region
from e2e.pages import Editor
from e2e.truth import TALL, WIDE, drawn, of_type, pixels
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Detections
from grounded_labeler.demo.process import HERE
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.regions import encode_regions

FORMS = {"brush": "Circle", "bitmask": "Square", "polygon": "Triangle"}
TAGS = {"brush": MASKS, "bitmask": BITMASKS, "polygon": POLYGONS}
# docs/label-configs.md says the same.
KEPT = {
    "JSON": {"brush", "bitmask", "polygon"},
    "COCO": {"polygon"},
    "YOLO": {"polygon"},
    "YOLO_OBB": {"polygon"},
    "BRUSH_TO_PNG": {"brush"},
    "BRUSH_TO_NUMPY": {"brush"},
    "BRUSH_TO_COCO": {"brush", "polygon"},
}


@pytest.mark.bitmasks
def test_a_predicted_bitmask_is_drawn_on_and_saved(
    label_studio: LabelStudio, editor: Editor, page: Page
) -> None:
    [circle] = drawn(WIDE).named("red circle")
    size_hw = circle.mask.shape
    project = label_studio.project("Bitmask, drawn on", view(BITMASKS))
    [task] = label_studio.upload(project, WIDE)
    label_studio.predict(task, [predicted("bitmask", "Circle")])
    # Without a backend the editor has no Auto-Annotation, for which `editor.open` waits.
    page.goto(f"{label_studio.url}/projects/{project}/data?task={task}")
    page.locator(".lsf-outliner-item").wait_for()
    np.testing.assert_allclose(editor.bitmask_box(), circle.box, atol=2)
    editor.select_region()
    x0, y0, x1, y1 = circle.box.astype(int).tolist()
    middle = ((x0 + x1) // 2, (y0 + y1) // 2)
    beside = (middle[0] + (x1 - x0), middle[1])
    editor.stroke(middle, beside, size_hw)
    editor.submit()
    [region] = of_type(label_studio.annotation(task), "bitmasklabels")
    saved = pixels(region)
    assert saved[circle.mask].mean() > 0.99
    assert saved[beside[1], beside[0]]
    assert saved.sum() < 2 * circle.mask.sum()
    assert region["value"]["bitmasklabels"] == ["Circle"]


def predicted(form: str, label: str) -> Region:
    """The red circle of an image, as the service draws it where the config has that tag alone."""
    [circle] = drawn(WIDE).named("red circle")
    [target] = read_label_config(view(TAGS[form])).images
    found = Detections(circle.box[None], np.array([0.5], np.float32), (label,), (label,))
    size_wh = circle.mask.shape[1], circle.mask.shape[0]
    [region] = encode_regions(found, [Mask.from_full(circle.mask)], target, size_wh, "auto")
    return region


@pytest.fixture(scope="module")
def one_of_each(label_studio: LabelStudio) -> int:
    """A project whose annotations have a mask in each form, with a label for each.

    There are two, as an export of a single file has no label in its name.
    """
    project = label_studio.project("Forms", f"<View>{IMAGE}{MASKS}{BITMASKS}{POLYGONS}</View>")
    tasks = label_studio.upload(project, WIDE, TALL)
    regions = [predicted(form, label) for form, label in FORMS.items()]
    for task in tasks:
        url = f"{label_studio.url}/api/tasks/{task}/annotations"
        headers = {"Authorization": f"Token {LEGACY_TOKEN}"}
        HERE.post(url, json={"result": regions}, headers=headers, timeout=110).raise_for_status()
    return project


@pytest.mark.parametrize("kind", KEPT)
def test_what_label_studio_s_exports_keep(
    label_studio: LabelStudio, one_of_each: int, kind: str
) -> None:
    url = f"{label_studio.url}/api/projects/{one_of_each}/export?exportType={kind}"
    response = HERE.get(url, headers={"Authorization": f"Token {LEGACY_TOKEN}"}, timeout=110)
    assert response.ok, response.text
    if kind == "JSON":
        files = {"": response.content}
    else:
        with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    labels = set(_labels(kind, files))
    assert {form for form, label in FORMS.items() if label in labels} == KEPT[kind]


def _labels(kind: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """The labels of the objects in an export, in whatever its format names them."""
    for name, content in files.items():
        if kind == "JSON":
            for task in json.loads(content):
                for region in task["annotations"][0]["result"]:
                    yield from region["value"][region["type"]]
        elif "COCO" in kind and name.endswith(".json"):
            coco = json.loads(content)
            names = {category["id"]: category["name"] for category in coco["categories"]}
            yield from (names[one["category_id"]] for one in coco["annotations"])
        elif name.startswith("labels/"):
            classes = files["classes.txt"].decode().split()
            yield from (classes[int(line.split()[0])] for line in content.decode().splitlines())
        elif name.endswith((".png", ".npy")):
            yield from re.findall("|".join(FORMS.values()), name)
