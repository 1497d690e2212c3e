"""Rotated boxes, limited polygons and vectors: what is saved is compared with what is drawn."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from e2e.configs import LABELS, MASKS, view
from e2e.conftest import Annotate, StartService
from e2e.label_studio import LabelStudio, Region
from e2e.pages import Editor, save_for_docs
from e2e.truth import LARGE, ROTATED, WIDE, assert_found, drawn, labels_of, of_type
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.demo.shapes import DrawnImage, draw_image
from grounded_labeler.label_studio.outlines import outline_of
from grounded_labeler.label_studio.rendering import label_of
from grounded_labeler.label_studio.shapes import rotated_box_of

TURNED = f'<RectangleLabels name="boxes" toName="image" rotated="true">{LABELS}</RectangleLabels>'
FEW_POINTS = (
    f'<PolygonLabels name="polygons" toName="image" max_points="12">{LABELS}</PolygonLabels>'
)
VECTORS = f'<VectorLabels name="vectors" toName="image" closable="true">{LABELS}</VectorLabels>'
KINDS = ("square", "square", "star", "triangle")
SEEDS = (9, 10, 29)
_VERTICES = """() => Htx.annotationStore.selected.regions
    .filter(region => region.vertices).map(region => region.vertices.map(({x, y}) => [x, y]))"""


@pytest.fixture(scope="module")
def turned_images(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, DrawnImage]]:
    """Images of squares, stars and triangles that lean, which are not as high as they are wide."""
    folder = tmp_path_factory.mktemp("turned")
    made = []
    for seed in SEEDS:
        image = draw_image(np.random.default_rng(seed), (640, 400), kinds=KINDS)
        Image.fromarray(image.image).save(folder / f"{seed}.png")
        made.append((folder / f"{seed}.png", image))
    return made


@pytest.fixture(scope="module")
def both(start_service: StartService) -> Iterator[str]:
    with start_service("rotated and masks", OUTPUT="both", PREANNOTATE="off") as url:
        yield url


def smallest(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The corners of the smallest rectangle around a mask, (4, 2) in pixels."""
    ys, xs = np.nonzero(mask)
    corners = [np.stack([xs + i, ys + j], axis=1) for i in (0, 1) for j in (0, 1)]
    box = cv2.minAreaRect(np.concatenate(corners).astype(np.float32))
    return np.asarray(cv2.boxPoints(box), np.float32)


def corners_of(region: Region) -> NDArray[np.float32]:
    """The corners of a saved rectangle as Label Studio turns it, (4, 2) in pixels."""
    size_wh = (region["original_width"], region["original_height"])
    box = rotated_box_of(region, size_wh)
    if box is not None:
        return box.corners().astype(np.float32)
    value = region["value"]
    left, right = value["x"], value["x"] + value["width"]
    top, bottom = value["y"], value["y"] + value["height"]
    percent = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return (percent * size_wh / 100).astype(np.float32)


def polygon_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    shared, _ = cv2.intersectConvexConvex(a, b)
    return shared / (cv2.contourArea(a) + cv2.contourArea(b) - shared)


def assert_turned(image: DrawnImage, regions: list[Region]) -> int:
    """Each shape has a box that is the smallest one around it; returns how many are turned."""
    assert len(regions) == len(image.shapes), labels_of(regions)
    count = 0
    for shape in image.shapes:
        own = [region for region in regions if label_of(region) == shape.kind.title()]
        # About as small as the smallest, and turned unless an upright box is, too.
        truth = smallest(shape.mask)
        x0, y0, x1, y1 = shape.box.tolist()
        upright = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)
        saves = 1 - cv2.contourArea(truth) / cv2.contourArea(upright)
        best = max(own, key=lambda region: polygon_iou(corners_of(region), truth))
        if saves > 0.15:
            assert polygon_iou(corners_of(best), truth) >= 0.9, (shape.name, best["value"])
            assert best["value"]["rotation"] > 0, shape.name
            count += 1
        elif saves < 0.02:
            assert polygon_iou(corners_of(best), upright) >= 0.85, (shape.name, best["value"])
    return count


def test_rotated_boxes_lie_on_their_objects(
    label_studio: LabelStudio,
    service: str,
    editor: Editor,
    page: Page,
    out: Path,
    turned_images: list[tuple[Path, DrawnImage]],
) -> None:
    project = label_studio.project("Rotated boxes", view(TURNED))
    label_studio.connect(project, service)
    tasks = label_studio.upload(project, *(path for path, _ in turned_images))
    turned = 0
    for task, (_, image) in zip(tasks, turned_images, strict=True):
        editor.open(project, task)
        editor.auto_annotation()
        editor.ask(" . ".join(sorted({shape.kind for shape in image.shapes})))
        editor.accept()
        save_for_docs(page, out, f"rotated-{task}")
        editor.submit()
        turned += assert_turned(image, of_type(label_studio.annotation(task), "rectanglelabels"))
    assert turned >= 6


def test_rotated_boxes_and_masks_of_an_image_that_is_stored_on_its_side(
    label_studio: LabelStudio, both: str, annotate: Annotate
) -> None:
    project = label_studio.project("Rotated boxes and masks", view(TURNED, MASKS))
    label_studio.connect(project, both)
    [task] = label_studio.upload(project, ROTATED)
    saved = annotate(project, task, "red square . red circle")
    image = drawn(ROTATED)
    shapes = image.named("red square") + image.named("red circle")
    assert_turned(DrawnImage(image.image, shapes), of_type(saved, "rectanglelabels"))
    assert_found(image, of_type(saved, "brushlabels"), "red square", "red circle")


def test_polygons_of_few_points(
    label_studio: LabelStudio, service: str, annotate: Annotate
) -> None:
    project = label_studio.project("Few points", view(FEW_POINTS))
    label_studio.connect(project, service)
    [task] = label_studio.upload(project, LARGE)
    polygons = of_type(annotate(project, task, "blue star . red circle"), "polygonlabels")
    assert_found(drawn(LARGE), polygons, "blue star", "red circle")
    assert max(len(polygon["value"]["points"]) for polygon in polygons) <= 12


def test_vectors_are_shown_edited_and_saved(
    label_studio: LabelStudio, service: str, editor: Editor, page: Page, out: Path
) -> None:
    page.set_viewport_size({"width": 1400, "height": 1300})
    project = label_studio.project("Vectors", view(VECTORS))
    label_studio.connect(project, service)
    [task] = label_studio.upload(project, WIDE)
    editor.open(project, task)
    editor.auto_annotation()
    editor.ask("red circle . blue star . blue ring")
    editor.accept()
    save_for_docs(page, out, "vectors")
    before = page.evaluate(_VERTICES)
    # The lowest corner of the circle is drawn away, as an annotator would do it.
    [circle] = drawn(WIDE).named("red circle")
    middle = (circle.box[:2] + circle.box[2:]) / 2
    far = [float(np.abs(np.mean(points, axis=0) - middle).max()) for points in before]
    region = int(np.argmin(far))
    corner = max(range(len(before[region])), key=lambda i: before[region][i][1])
    x, y = before[region][corner]
    inside = float(middle[0]), float(middle[1])
    editor.drag(inside, (x, y), (x - 10, y + 40), drawn(WIDE).image.shape[:2])
    after = page.evaluate(_VERTICES)
    # The editor puts a corner close to the pointer under it, and no other one moves.
    steps = np.array(after[region]) - before[region]
    [moved] = np.flatnonzero(steps.any(axis=1))
    assert np.abs(steps[moved] - [-10, 40]).max() <= 15, steps[moved]
    after[region] = before[region]
    assert after == before, "other vectors moved, too"
    editor.submit()
    saved = of_type(label_studio.annotation(task), "vectorlabels")
    assert labels_of(saved) == ["Circle", "Ring", "Star"]
    for one in saved:
        assert one["value"]["closed"] is True
        [shape] = [
            shape
            for name in ("red circle", "blue star", "blue ring")
            for shape in drawn(WIDE).named(name)
            if shape.kind.title() == label_of(one)
        ]
        overlap = mask_iou(filled(one), shape.mask)
        assert overlap >= (0.7 if shape.kind == "circle" else 0.85), (shape.name, overlap)
    editor.open(project, task)
    assert len(page.evaluate(_VERTICES)) == len(before)
    save_for_docs(page, out, "vectors-again")


def filled(region: Region) -> NDArray[np.bool_]:
    outline = outline_of(region["value"])
    assert outline is not None
    size_wh = (region["original_width"], region["original_height"])
    canvas = np.zeros(size_wh[::-1], np.uint8)
    cv2.fillPoly(canvas, [np.rint(outline * size_wh / 100).astype(np.int32)], 1)
    return canvas > 0
