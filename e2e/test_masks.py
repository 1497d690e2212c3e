"""Flows 3 and 4: masks and polygons, compared pixel by pixel with what is drawn."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from e2e.configs import BOXES, MASKS, POLYGONS, view
from e2e.conftest import Annotate, StartService
from e2e.label_studio import LabelStudio
from e2e.pages import Editor, save_for_docs
from e2e.truth import LARGE, ROTATED, WIDE, assert_found, drawn, of_type
from grounded_labeler.demo.process import ROOT


@pytest.fixture(scope="module")
def both(start_service: StartService) -> Iterator[str]:
    with start_service("both", OUTPUT="both", PREANNOTATE="off") as url:
        yield url


def test_the_tutorial_s_two_tags_give_masks(
    label_studio: LabelStudio, service: str, annotate: Annotate
) -> None:
    project = label_studio.project("Masks", view(BOXES, MASKS))
    label_studio.connect(project, service)
    [task] = label_studio.upload(project, WIDE)
    saved = annotate(project, task, "red circle . blue ring . blue star")
    assert of_type(saved, "rectanglelabels") == []
    masks = of_type(saved, "brushlabels")
    assert_found(drawn(WIDE), masks, "red circle", "blue ring", "blue star")


@pytest.mark.compatibility
@pytest.mark.parametrize(
    ("image", "names"),
    [(LARGE, ["blue ring", "blue star"]), (ROTATED, ["red ring", "red circle"])],
    ids=["1280x960", "stored on its side"],
)
def test_boxes_and_masks_in_one_answer(
    label_studio: LabelStudio, both: str, annotate: Annotate, image: Path, names: list[str]
) -> None:
    project = label_studio.project("Boxes and masks", view(BOXES, MASKS))
    label_studio.connect(project, both)
    [task] = label_studio.upload(project, image)
    saved = annotate(project, task, " . ".join(names))
    assert_found(drawn(image), of_type(saved, "rectanglelabels"), *names)
    assert_found(drawn(image), of_type(saved, "brushlabels"), *names)


@pytest.mark.compatibility
def test_polygons(label_studio: LabelStudio, service: str, annotate: Annotate) -> None:
    project = label_studio.project("Polygons", view(POLYGONS))
    label_studio.connect(project, service)
    [task] = label_studio.upload(project, WIDE)
    saved = annotate(project, task, "red circle . blue star . orange star")
    polygons = of_type(saved, "polygonlabels")
    assert_found(drawn(WIDE), polygons, "red circle", "blue star", "orange star")
    assert all(polygon["value"]["closed"] for polygon in polygons)


def test_the_tutorial_s_label_config(
    label_studio: LabelStudio, both: str, editor: Editor, page: Page, out: Path
) -> None:
    """It is taken as it stands, with the labels of the demo images in place of its own."""
    [config] = re.findall(r"```xml\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.S)
    config = config.replace('value="Car"', 'value="Circle"').replace('"Person"', '"Star"')
    project = label_studio.project("Shapes", config)
    label_studio.connect(project, both)
    [task] = label_studio.upload(project, WIDE)
    editor.open(project, task)
    editor.auto_annotation()
    editor.type("red circle . star")
    save_for_docs(page, out / "docs", "prompt-typed")
    editor.ask("red circle . star")
    suggestions = editor.suggestions()
    names = ("red circle", "blue star", "orange star")
    for kind in ("rectanglelabels", "brushlabels"):
        assert_found(drawn(WIDE), of_type(suggestions, kind), *names)
    save_for_docs(page, out / "docs", "boxes-and-masks")
    editor.accept()
    editor.submit()
    saved = label_studio.annotation(task)
    for kind in ("rectanglelabels", "brushlabels"):
        assert_found(drawn(WIDE), of_type(saved, kind), *names)
    expect(page.get_by_text("Found Star: 2, Circle: 1")).to_be_visible()
