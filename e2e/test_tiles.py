"""Flow 14: small things in large images, by tiles and by looking closer at a part."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from e2e.configs import PROMPT, view
from e2e.label_studio import LabelStudio, Region
from e2e.pages import Editor, save_for_docs
from e2e.truth import of_type
from grounded_labeler.core.boxes import box_iou
from grounded_labeler.demo.matching import RIGHT_IOU
from grounded_labeler.demo.small_things import SmallThing, draw_small_things
from grounded_labeler.label_studio.rendering import box_of, label_of

SIZE_WH = (1000, 750)
COLORS = {
    "Blue": "#1f77b4", "Green": "#2ca02c", "Orange": "#ff7f0e",
    "Purple": "#9467bd", "Red": "#d62728", "Yellow": "#ffd700",
}  # fmt: skip
LABELS = "".join(f'<Label value="{name}" background="{code}"/>' for name, code in COLORS.items())
BOXES = f'<RectangleLabels name="boxes" toName="image" smart="false">{LABELS}</RectangleLabels>'
SEARCH = '<Rectangle name="search" toName="image" smart="true" smartOnly="true"/>'
# Two of the shapes are in it, and no other one is.
PART = (700, 525, 940, 725)
EMPTY = (0, 0, 60, 60)

Open = Callable[[str], int]


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[SmallThing, ...]]:
    """A large image, and its six small shapes."""
    pixels, things = draw_small_things(np.random.default_rng(19), SIZE_WH, 6, (20, 40))
    path = tmp_path_factory.mktemp("images") / "small-things.png"
    Image.fromarray(pixels).save(path)
    return path, things


@pytest.fixture
def opened(
    label_studio: LabelStudio, service: str, editor: Editor, page: Page,
    things: tuple[Path, tuple[SmallThing, ...]],
) -> Open:  # fmt: skip
    """Open the image's task in a new project with this label config; returns the task."""

    def open_task(config: str) -> int:
        # All of the image is on the screen, where it can be drawn on.
        page.set_viewport_size({"width": 1400, "height": 1000})
        project = label_studio.project("Small things", config)
        label_studio.connect(project, service)
        [task] = label_studio.upload(project, things[0])
        editor.open(project, task)
        editor.auto_annotation()
        return task

    return open_task


def colors_of(things: Sequence[SmallThing]) -> str:
    """A prompt that names each color that is drawn."""
    return " . ".join(sorted({thing.color for thing in things}))


def assert_each_once(regions: Sequence[Region], things: Sequence[SmallThing]) -> None:
    """Each shape, and nothing else, has one region with its color as the label."""
    assert len(regions) == len(things)
    for thing in things:
        same = [one for one in regions if label_of(one) == thing.color.title()]
        boxes = np.array([box_of(region) for region in same], np.float32).reshape(-1, 4)
        right = box_iou(thing.box[None], boxes)[0] >= RIGHT_IOU
        assert right.sum() == 1, (thing.color, thing.kind, boxes)


def test_tiles_find_what_is_small_in_the_whole(
    label_studio: LabelStudio, editor: Editor, opened: Open,
    things: tuple[Path, tuple[SmallThing, ...]],
) -> None:  # fmt: skip
    opened(view(BOXES))
    editor.ask(colors_of(things[1]))
    expect(editor.status).to_contain_text("Nothing found for")
    assert editor.suggestions() == []

    task = opened(
        view(BOXES).replace(PROMPT, PROMPT.replace("<TextArea", '<TextArea tiles="240"', 1))
    )
    editor.ask(colors_of(things[1]))
    for again in range(1, 6):
        if "there was no time" not in editor.status.inner_text():
            break
        # On a busy machine: the service keeps what it has seen of the tiles.
        editor.ask_instead(colors_of(things[1]) + " ." * again)
    expect(editor.status).to_contain_text("with 20 tiles.")
    editor.accept()
    editor.submit()
    assert_each_once(of_type(label_studio.annotation(task), "rectanglelabels"), things[1])


def test_look_closer_at_a_part(
    label_studio: LabelStudio, editor: Editor, opened: Open, page: Page, out: Path,
    things: tuple[Path, tuple[SmallThing, ...]],
) -> None:  # fmt: skip
    task = opened(view(BOXES, SEARCH))
    editor.ask(colors_of(things[1]))
    expect(editor.status).to_contain_text("Nothing found for")

    editor.smart_tool("rectangle-tool")
    editor.draw_box(PART, SIZE_WH[::-1])
    expect(editor.status).to_contain_text("Inside the rectangle: Found")
    x0, y0, x1, y1 = PART
    inside = [
        thing
        for thing in things[1]
        if (thing.box >= (x0, y0, x0, y0)).all() and (thing.box <= (x1, y1, x1, y1)).all()
    ]
    assert len(inside) == 2
    assert_each_once(of_type(editor.suggestions(), "rectanglelabels"), inside)
    save_for_docs(page, out / "docs", "look-closer")

    editor.accept()
    editor.submit()
    saved = label_studio.annotation(task)
    assert_each_once(of_type(saved, "rectanglelabels"), inside)
    assert {region["from_name"] for region in saved} == {"prompt", "status", "boxes"}


def test_a_rectangle_that_nothing_was_found_in_is_deleted(
    label_studio: LabelStudio, editor: Editor, opened: Open, page: Page
) -> None:
    task = opened(view(BOXES, SEARCH))
    editor.ask("red")
    editor.smart_tool("rectangle-tool")
    editor.draw_box(EMPTY, SIZE_WH[::-1])
    expect(editor.status).to_contain_text("Delete the rectangle if it is still there.")
    [left] = of_type(editor.regions(), "rectangle")
    assert left["from_name"] == "search"
    page.locator(".lsf-outliner-item").click()
    page.keyboard.press("Backspace")
    page.wait_for_load_state("networkidle")
    editor.submit()
    saved = label_studio.annotation(task)
    assert {region["from_name"] for region in saved} == {"prompt", "status"}
