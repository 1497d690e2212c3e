"""Flow 13: clicks and boxes, by the smart tools of the editor; what is saved is looked at."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from e2e.configs import BITMASKS, BOXES, LABELS, MASKS, POLYGONS, view
from e2e.conftest import StartService
from e2e.label_studio import LabelStudio, Region
from e2e.pages import Editor, save_for_docs
from e2e.truth import ROTATED, WIDE, assert_found, drawn, of_type, pixels
from grounded_labeler.core.masks import Mask
from grounded_labeler.demo.clicking import correcting_click
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.demo.process import ROOT
from grounded_labeler.label_studio.mask_image import bitmask_url, white_on_black_url

Pixels = NDArray[np.bool_]

HOTKEYS = dict(zip(("Circle", "Square", "Triangle", "Star", "Ring"), "12345", strict=True))
KEYED = re.sub(r'value="(\w+)"', lambda m: f'{m[0]} hotkey="{HOTKEYS[m[1]]}"', LABELS)
POINTS = f'<KeyPointLabels name="points" toName="image" smartOnly="true">{KEYED}</KeyPointLabels>'
SMART_BOXES = (
    '<RectangleLabels name="boxes" toName="image" smartOnly="true">'
    '<Label value="Circle" hotkey="6"/><Label value="Star" hotkey="7"/></RectangleLabels>'
)
POINT, BOX = "key-point-tool", "rectangle-tool"


def true_mask(name: str, image: Path = WIDE) -> Pixels:
    [shape] = drawn(image).named(name)
    return shape.mask


def middle(mask: Pixels) -> tuple[int, int]:
    return correcting_click(np.zeros_like(mask), mask)[:2]


@pytest.fixture
def tall(page: Page) -> None:
    """All of the image is on the screen, where it can be clicked on."""
    page.set_viewport_size({"width": 1400, "height": 1300})


@pytest.fixture
def opened(label_studio: LabelStudio, service: str, editor: Editor, tall: None) -> Any:
    """Open a task of a new project with these control tags; returns the task."""

    def open_task(*controls: str, config: str = "", image: Path = WIDE, url: str = service) -> int:
        project = label_studio.project("Clicks", config or view(*controls))
        label_studio.connect(project, url)
        [task] = label_studio.upload(project, image)
        editor.open(project, task)
        editor.auto_annotation()
        return task

    return open_task


def suggested(editor: Editor, kind: str = "brushlabels") -> Pixels:
    [region] = of_type(editor.suggestions(), kind)
    return pixels(region)


def saved(editor: Editor, label_studio: LabelStudio, task: int) -> list[Region]:
    editor.accept()
    editor.submit()
    return label_studio.annotation(task)


@pytest.mark.compatibility
@pytest.mark.parametrize(
    ("image", "name", "key"),
    [(WIDE, "red circle", "1"), (ROTATED, "red square", "2")],
    ids=["as stored", "stored on its side"],
)
def test_one_click(
    label_studio: LabelStudio, editor: Editor, opened: Any, image: Path, name: str, key: str
) -> None:
    task = opened(MASKS, POINTS, image=image)
    editor.smart_tool(POINT)
    mask = true_mask(name, image)
    editor.click(middle(mask), mask.shape, key)
    assert_found(drawn(image), of_type(saved(editor, label_studio, task), "brushlabels"), name)


@pytest.mark.compatibility
def test_clicks_take_a_part_away_and_give_it_back(
    label_studio: LabelStudio, editor: Editor, opened: Any, page: Page, out: Path
) -> None:
    """The label config is the one that the documentation has for copying."""
    [config] = re.findall(
        r"```xml\n(.*?)```", (ROOT / "docs" / "correct-a-mask.md").read_text(), re.S
    )
    page.set_viewport_size({"width": 1400, "height": 1060})
    config = config.replace('value="Car"', 'value="Star"').replace('"Person"', '"Circle"')
    task = opened(config=config)
    editor.smart_tool(POINT)
    star, triangle = true_mask("orange star"), true_mask("blue triangle")

    def share() -> float:
        return float((suggested(editor) & triangle).sum() / triangle.sum())

    editor.click(middle(star), star.shape, "1")
    assert mask_iou(suggested(editor), star) >= 0.9
    save_for_docs(page, out / "docs", "clicked")
    editor.click(middle(triangle), star.shape, "1")  # a second object by mistake
    assert share() > 0.5
    clicked = np.zeros_like(star)
    for _ in range(6):
        found = suggested(editor)
        if mask_iou(found, star) >= 0.9:
            break
        # A click on an earlier one would select that one instead.
        x, y, positive = correcting_click(np.where(clicked, star, found), star)
        clicked[max(y - 9, 0) : y + 10, max(x - 9, 0) : x + 10] = True
        editor.click((x, y), star.shape, "1", alt=not positive)
    assert mask_iou(suggested(editor), star) >= 0.9
    assert share() < 0.1
    save_for_docs(page, out / "docs", "corrected")
    x, y = middle(triangle & ~clicked)
    editor.click((x, y), star.shape, "1")
    assert share() > 0.5
    regions = saved(editor, label_studio, task)
    [mask] = of_type(regions, "brushlabels")
    assert mask["value"]["brushlabels"] == ["Star"]
    assert {region["type"] for region in regions} == {"brushlabels", "textarea"}


@pytest.mark.compatibility
def test_a_box_and_two_of_them(label_studio: LabelStudio, editor: Editor, opened: Any) -> None:
    task = opened(MASKS, POINTS, SMART_BOXES)
    editor.smart_tool(BOX)
    image = drawn(WIDE)
    for name in ("blue star", "orange star"):
        [shape] = image.named(name)
        editor.draw_box(shape.box.tolist(), shape.mask.shape, "7")
    regions = saved(editor, label_studio, task)
    assert_found(image, of_type(regions, "brushlabels"), "blue star", "orange star")
    assert of_type(regions, "rectanglelabels") == []


def test_a_box_and_a_click_of_one_request(label_studio: LabelStudio, service: str) -> None:
    """The editor of 1.23.2 sends clicks alone: this is what other front ends send."""
    project = label_studio.project("Box and click", view(MASKS, POINTS, SMART_BOXES))
    backend = label_studio.connect(project, service)
    [task] = label_studio.upload(project, WIDE)
    [shape] = drawn(WIDE).named("red circle")
    height, width = shape.mask.shape
    x0, y0, x1, y1 = shape.box.tolist()
    x, y = middle(shape.mask)
    drawn_box = {
        "type": "rectanglelabels", "from_name": "boxes", "to_name": "image",
        "value": {
            "x": 100 * x0 / width, "y": 100 * y0 / height, "width": 100 * (x1 - x0) / width,
            "height": 100 * (y1 - y0) / height, "rectanglelabels": ["Circle"],
        },
    }  # fmt: skip
    clicked = {
        "type": "keypointlabels", "from_name": "points", "to_name": "image", "is_positive": True,
        "value": {"x": 100 * x / width, "y": 100 * y / height, "keypointlabels": ["Circle"]},
    }  # fmt: skip
    results = label_studio.draw(backend, task, drawn_box, clicked)
    assert_found(drawn(WIDE), of_type(results, "brushlabels"), "red circle")


def test_text_then_a_click_on_another_object(
    label_studio: LabelStudio, editor: Editor, opened: Any
) -> None:
    task = opened(MASKS, POINTS)
    editor.ask("red circle")
    editor.accept()
    editor.smart_tool(POINT)
    ring = true_mask("blue ring")
    editor.click(middle(ring), ring.shape, "5")
    regions = of_type(saved(editor, label_studio, task), "brushlabels")
    assert_found(drawn(WIDE), regions, "red circle", "blue ring")


def test_a_wrong_mask_is_rejected_and_the_object_clicked_anew(
    label_studio: LabelStudio, editor: Editor, opened: Any
) -> None:
    task = opened(MASKS, POINTS)
    editor.smart_tool(POINT)
    triangle, star = true_mask("blue triangle"), true_mask("blue star")
    editor.click(middle(triangle), star.shape, "4")
    editor.reject()
    editor.click(middle(star), star.shape, "4")
    regions = of_type(saved(editor, label_studio, task), "brushlabels")
    assert_found(drawn(WIDE), regions, "blue star")


@pytest.mark.compatibility
@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        (POLYGONS, "polygonlabels"),
        pytest.param(BITMASKS, "bitmasklabels", marks=pytest.mark.bitmasks),
        (BOXES, "rectanglelabels"),
    ],
)
def test_in_the_form_that_the_config_can_hold(
    label_studio: LabelStudio, editor: Editor, opened: Any, tag: str, kind: str
) -> None:
    task = opened(tag, POINTS)
    editor.smart_tool(POINT)
    circle = true_mask("red circle")
    editor.click(middle(circle), circle.shape, "1")
    regions = of_type(saved(editor, label_studio, task), kind)
    assert_found(drawn(WIDE), regions, "red circle")


@pytest.mark.bitmasks
def test_the_editor_takes_opaque_pixels_for_a_bitmask_s_object(
    label_studio: LabelStudio, service: str, editor: Editor
) -> None:
    """White on black, as the interactive layer reads it, would be the whole image."""
    circle = Mask.from_full(true_mask("red circle"))
    project = label_studio.project("Polarity", view(BITMASKS))
    label_studio.connect(project, service)
    [task] = label_studio.upload(project, WIDE)
    height, width = circle.size_hw
    boxes = []
    for url in (bitmask_url(circle), white_on_black_url(circle)):
        region = {
            "from_name": "bitmasks", "to_name": "image", "type": "bitmasklabels", "id": "a",
            "original_width": width, "original_height": height, "image_rotation": 0,
            "value": {"imageDataURL": url, "bitmasklabels": ["Circle"]},
        }  # fmt: skip
        label_studio.predict(task, [region])
        editor.open(project, task)
        boxes.append(editor.bitmask_box())
    drawn_box = drawn(WIDE).named("red circle")[0].box
    np.testing.assert_allclose(boxes[0], drawn_box, atol=2)
    np.testing.assert_allclose(boxes[1], [0, 0, width, height], atol=2)


@pytest.fixture
def boxes_only(start_service: StartService) -> Iterator[str]:
    with start_service("boxes only", SEGMENTER="none", PREANNOTATE="off") as url:
        yield url


def test_without_a_segmenter_the_status_field_says_so(
    boxes_only: str, editor: Editor, opened: Any
) -> None:
    opened(BOXES, POINTS, url=boxes_only)
    editor.smart_tool(POINT)
    circle = true_mask("red circle")
    editor.click(middle(circle), circle.shape, "1")
    expect(editor.status).to_contain_text("SEGMENTER=mobile-sam")
    assert of_type(editor.suggestions(), "brushlabels") == []


def test_the_interactive_layer_s_contexts(
    label_studio: LabelStudio, service: str, page: Page
) -> None:
    """This release hands them through; the page decodes the mask as the layer's editor does."""
    project = label_studio.project("Layer", view(MASKS))
    backend = label_studio.connect(project, service)
    [task] = label_studio.upload(project, WIDE)
    [able] = label_studio.context(backend, task, event="capabilities")
    assert able["value"]["prompts"] == ["point", "box"]
    for event in ("prewarm", "release", "track_progress"):
        assert label_studio.context(backend, task, event=event) == []
    circle = true_mask("red circle")
    height, width = circle.shape
    x, y = middle(circle)
    clicked = {"x": 100 * x / width, "y": 100 * y / height, "positive": True}
    [mask] = label_studio.context(
        backend, task, result=[{"type": "keypointlabels", "value": clicked}]
    )
    reds = page.evaluate(
        """async url => {
            const image = new Image();
            image.src = url;
            await image.decode();
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
            return [...data].filter((_, i) => i % 4 === 0);
        }""",
        mask["value"]["imageDataURL"],
    )
    assert mask_iou(np.array(reds).reshape(height, width) > 127, circle) >= 0.9
