"""What people submitted in Label Studio's editor is exported as a dataset, brush masks and all."""

import base64
import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from e2e.label_studio import LEGACY_TOKEN, LabelStudio, Region
from e2e.pages import Editor
from e2e.truth import ROTATED, WIDE, drawn, pixels
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Detections
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.demo.process import HERE, ROOT
from grounded_labeler.demo.shapes import DrawnImage
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.regions import encode_regions

pytestmark = [pytest.mark.compatibility, pytest.mark.bitmasks]

CIRCLE, STAR, RING = NAMES = ("Círculo", "星", "Ring")
LABELS = "".join(f'<Label value="{name}"/>' for name in NAMES)
# Their labels have the hotkeys 1 to 9, 0, q, w in this order.
TAGS = ("Rectangle", "Brush", "Polygon", "Bitmask")
CONFIG = "".join(
    ["<View>", '<Image name="image" value="$image"/>']
    + [f'<{tag}Labels name="{tag.lower()}" toName="image">{LABELS}</{tag}Labels>' for tag in TAGS]
    + ["</View>"]
)
BLANK_WH = (640, 480)
PATIENCE_S = 600
MIN_IOU = 0.99


def by_hand(editor: Editor) -> None:
    """Draw a brush stroke, a polygon, a bitmask and a rectangle, which is turned."""
    size_hw = BLANK_WH[::-1]

    def wait_for_regions(count: int) -> None:
        regions = "Htx.annotationStore.selected.regions"
        editor.page.wait_for_function(f"{regions}.length === {count}")

    editor.draw_along([(60, 60), (200, 60), (200, 200)], size_hw, "4")
    wait_for_regions(1)
    square = [(300, 50), (400, 50), (400, 150), (300, 150)]
    editor.click_through([*square, square[0]], size_hw, "8")
    wait_for_regions(2)
    editor.draw_along([(60, 300), (200, 300), (200, 400)], size_hw, "w")
    wait_for_regions(3)
    editor.draw_along([(400, 300), (500, 350)], size_hw, "2")
    wait_for_regions(4)
    editor.turn((400, 300, 500, 350), size_hw)


def from_truth(image: DrawnImage, *tags: str) -> list[Region]:
    """The truth of a drawn image, as the editor saves it with these tags."""
    config = f'<View><Image name="image" value="$image"/>{"".join(tags)}</View>'
    [target] = read_label_config(config).images
    found = Detections(
        np.array([one.box for one in image.shapes], np.float32),
        np.ones(len(image.shapes), np.float32),
        tuple(one.name for one in image.shapes),
        tuple(name_of(one.kind) for one in image.shapes),
    )
    height, width = image.image.shape[:2]
    masks = [Mask.from_full(one.mask) for one in image.shapes]
    regions: Any = encode_regions(found, masks, target, (width, height), "both")
    for region in regions:
        del region["score"]
    return list(regions)


def name_of(kind: str) -> str:
    return {"circle": CIRCLE, "star": STAR}.get(kind, RING)


def tag(name: str) -> str:
    return f'<{name}Labels name="{name.lower()}" toName="image">{LABELS}</{name}Labels>'


def pixels_of(region: Region) -> NDArray[np.bool_]:
    """Bool (H, W) of a brush or bitmask region as others decode them; edges are half opaque."""
    size_hw = (region["original_height"], region["original_width"])
    if region["type"] == "brushlabels":
        rgba = np.asarray(decode_rle(region["value"]["rle"])).reshape(*size_hw, 4)
        return np.asarray(rgba[:, :, 3] > 127)
    data = base64.b64decode(region["value"]["imageDataURL"].partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGBA"))[:, :, 3] > 127


def corners_of(region: Region) -> NDArray[np.float64]:
    """The corners of a turned rectangle, (4, 2) xy in pixels, clockwise from the upper left."""
    value, (image_width, image_height) = region["value"], BLANK_WH
    angle = np.radians(value["rotation"])
    along = np.array([np.cos(angle), np.sin(angle)]) * value["width"] * image_width / 100
    down = np.array([-np.sin(angle), np.cos(angle)]) * value["height"] * image_height / 100
    first = np.array([value["x"] * image_width / 100, value["y"] * image_height / 100])
    corners: NDArray[np.float64] = first + np.stack([0 * along, along, along + down, down])
    return corners


class Project:
    """A project with tasks of all kinds, by what became of them."""

    def __init__(self, label_studio: LabelStudio, editor: Editor, folder: Path) -> None:
        self.number = label_studio.project("Reviewed", CONFIG)
        folder.mkdir(exist_ok=True)
        blanks = [folder / f"{name}.png" for name in ("über Öl ★ 1", "skipped", "empty", "open")]
        for path in blanks:
            Image.new("RGB", BLANK_WH, "lightgray").save(path)
        self.tasks = label_studio.upload(self.number, *blanks, ROTATED, WIDE)
        by_hand_task, skipped, empty, _, turned, wide = self.tasks
        editor.open_to_draw(self.number, by_hand_task)
        by_hand(editor)
        editor.submit()
        self.by_hand = label_studio.annotation(by_hand_task)
        label_studio.annotate(skipped, self.by_hand, skip=True)
        editor.open_to_draw(self.number, empty)
        editor.submit()
        self.turned = from_truth(drawn(ROTATED), tag("Brush"))
        label_studio.annotate(turned, self.turned)
        self.wide = from_truth(drawn(WIDE), tag("Rectangle"), tag("Bitmask"))
        label_studio.annotate(wide, self.wide)


def export(
    label_studio: LabelStudio, project: int, *options: str
) -> "subprocess.CompletedProcess[str]":
    command = [
        sys.executable, "-m", "grounded_labeler", "export", "--project", str(project), *options,
    ]  # fmt: skip
    environ = os.environ | {
        "LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": LEGACY_TOKEN,
    }  # fmt: skip
    return subprocess.run(
        command, cwd=ROOT, env=environ, text=True, capture_output=True, timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip


def of_label_studio(label_studio: LabelStudio, project: int, kind: str) -> dict[str, Any]:
    """The COCO file that Label Studio itself exports."""
    path = f"{label_studio.url}/api/projects/{project}/export?exportType={kind}"
    headers = {"Authorization": f"Token {LEGACY_TOKEN}"}
    answer = HERE.request("GET", path, headers=headers, timeout=PATIENCE_S)
    assert answer.ok, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        [name] = [one for one in archive.namelist() if one.endswith(".json")]
        found: dict[str, Any] = json.loads(archive.read(name))
    return found


class Exported:
    """What the command wrote of each task: annotations in COCO's form and the image."""

    def __init__(self, folder: Path, label_studio: LabelStudio, project: Project) -> None:
        self.folder = folder
        self.coco = COCO(folder / "coco" / "annotations" / "instances_train.json")
        with (folder / "images.tsv").open(encoding="utf-8", newline="") as file:
            self.files = {
                row["source"]: row["file"] for row in csv.DictReader(file, dialect="excel-tab")
            }
        tasks = label_studio.tasks(project.number)
        self.sources = {
            task["id"]: unquote(task["data"]["image"]).removeprefix("/data/") for task in tasks
        }
        self.numbers = {one["file_name"]: one["id"] for one in self.coco.dataset["images"]}

    def file(self, task: int) -> str | None:
        return self.files.get(self.sources[task])

    def objects(self, task: int) -> list[dict[str, Any]]:
        file = self.file(task)
        assert file is not None
        found: list[dict[str, Any]] = self.coco.loadAnns(
            self.coco.getAnnIds(imgIds=[self.numbers[file]])
        )
        return found

    def mask(self, annotation: dict[str, Any]) -> NDArray[np.bool_]:
        return np.asarray(self.coco.annToMask(annotation) > 0)

    def names(self, task: int) -> list[str]:
        return [self.coco.cats[one["category_id"]]["name"] for one in self.objects(task)]


def test_reviewed_annotations_are_a_dataset_with_all_masks(
    label_studio: LabelStudio, editor: Editor, out: Path
) -> None:
    project = Project(label_studio, editor, out / "export-images")
    by_hand, skipped, empty, not_annotated, turned, wide = project.tasks
    folder = out / "exported"
    options = ("--format", "coco,yolo-obb", "--out", str(folder))
    without = export(label_studio, project.number, *options)
    assert without.returncode == 1
    [sentence] = without.stderr.splitlines()
    assert sentence.startswith("--project needs --reviewed")
    assert not folder.exists()

    done = export(label_studio, project.number, "--reviewed", *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = Exported(folder, label_studio, project)
    assert [one["name"] for one in found.coco.dataset["categories"]] == list(NAMES)
    assert [task for task in project.tasks if found.file(task)] == [by_hand, empty, turned, wide]
    assert found.file(skipped) is found.file(not_annotated) is None
    assert found.objects(empty) == []

    assert [one["type"] for one in project.by_hand] == [
        "brushlabels", "polygonlabels", "bitmasklabels", "rectanglelabels",
    ]  # fmt: skip
    brush, polygon, bitmask, rectangle = found.objects(by_hand)
    assert "über" in str(found.file(by_hand))
    assert found.names(by_hand) == [CIRCLE, STAR, RING, STAR]
    assert mask_iou(found.mask(brush), pixels_of(project.by_hand[0])) >= MIN_IOU
    assert mask_iou(found.mask(bitmask), pixels_of(project.by_hand[2])) >= MIN_IOU
    assert mask_iou(found.mask(polygon), pixels(project.by_hand[1])) >= 0.95
    corners = corners_of(project.by_hand[3])
    x, y, width, height, degrees = rectangle["rotated_bbox"]
    assert np.allclose((x, y), corners.mean(axis=0), atol=0.1)
    lengths = np.linalg.norm(corners[1:3] - corners[:2], axis=1)
    assert np.allclose((width, height), lengths, atol=0.1)
    assert 20 < degrees < 50
    lines = folder / "yolo-obb" / "labels" / "train" / f"{Path(str(found.file(by_hand))).stem}.txt"
    *_, last = lines.read_text().splitlines()
    written = np.array(last.split()[1:], float).reshape(4, 2) * BLANK_WH
    assert np.allclose(written, corners, atol=0.5)

    # What is stored on its side is written as people saw it.
    shapes = drawn(ROTATED)
    [path] = (folder / "coco").rglob(str(found.file(turned)))
    with Image.open(path) as image:
        assert (image.height, image.width) == shapes.image.shape[:2]
        assert image.getexif().get(0x0112, 1) == 1
    for task, of in ((turned, shapes), (wide, drawn(WIDE))):
        assert found.names(task) == [name_of(one.kind) for one in of.shapes]
        for annotation, shape in zip(found.objects(task), of.shapes, strict=True):
            assert mask_iou(found.mask(annotation), shape.mask) >= MIN_IOU

    # Why there is this command: Label Studio's own exports.
    own = of_label_studio(label_studio, project.number, "COCO")
    outlined = [one for one in own["annotations"] if one["segmentation"]]
    assert len(outlined) == 1, "of all masks, COCO has the polygon alone"
    boxes = len(drawn(WIDE).shapes) + 1
    assert len(own["annotations"]) == 1 + boxes
    filled = of_label_studio(label_studio, project.number, "BRUSH_TO_COCO")
    [ring] = shapes.named("red ring")
    outlined = [one for one in filled["annotations"] if one["segmentation"]]
    assert len(outlined) == 2 + len(shapes.shapes), "brush and polygon, but no bitmask"
    [around] = [one for one in outlined if np.allclose(one["bbox"][:2], ring.box[:2], atol=2)]
    [outline] = around["segmentation"]
    area = cv2.contourArea(np.array(outline, np.int32).reshape(-1, 2))
    assert area > 1.2 * ring.mask.sum(), "holes are filled"
