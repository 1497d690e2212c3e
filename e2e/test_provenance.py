"""Where regions say they came from, in the Info panel and in what is saved."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from e2e.configs import BOXES, MASKS, view
from e2e.conftest import StartService
from e2e.label_studio import LabelStudio
from e2e.pages import Editor
from e2e.truth import WIDE, labels_of, of_type


@pytest.fixture
def explaining(start_service: StartService) -> Iterator[str]:
    with start_service(
        "provenance", PREANNOTATE="off", ALLOWED_HOSTS="127.0.0.1", PROVENANCE="true"
    ) as url:
        yield url


def test_the_info_panel_says_why_a_region_is_there(
    label_studio: LabelStudio, explaining: str, editor: Editor, page: Page
) -> None:
    project = label_studio.project("Provenance", view(BOXES, MASKS))
    label_studio.connect(project, explaining)
    [task] = label_studio.upload(project, WIDE)
    editor.open(project, task)
    editor.auto_annotation()
    editor.ask("red circle > 0.35 -> Square")
    editor.accept()
    editor.submit()
    saved = label_studio.annotation(task)
    boxes = of_type(saved, "rectanglelabels") + of_type(saved, "brushlabels")
    assert labels_of(boxes) == ["Square"] * len(boxes)
    assert boxes
    for box in boxes:
        phrase, rule, threshold, version = box["meta"]["text"]
        assert phrase == "red circle"
        assert rule == "\nLabel Square: the prompt names it for the phrase."
        assert threshold == "\nBox threshold: 0.35."
        assert version.startswith("\nModel version: demo+demo-")
    page.locator(".lsf-outliner-item").filter(has_text="Square").first.click()
    shown = page.locator(".lsf-detailed-region__meta-text").first
    expect(shown).to_be_visible()
    lines = shown.inner_text().strip().splitlines()
    assert lines[:3] == [
        "red circle",
        "Label Square: the prompt names it for the phrase.",
        "Box threshold: 0.35.",
    ]
    assert lines[3].startswith("Model version: demo+demo-")


def test_a_prompt_that_only_gains_a_blank_asks_again(
    label_studio: LabelStudio, service: str, editor: Editor
) -> None:
    project = label_studio.project("Blank", view(BOXES))
    label_studio.connect(project, service)
    [task] = label_studio.upload(project, WIDE)
    editor.open(project, task)
    editor.auto_annotation()
    editor.ask("red circle")
    assert labels_of(of_type(editor.suggestions(), "rectanglelabels")) == ["Circle"]
    editor.ask_instead("red circle ")
    assert editor.asked == 2
    assert labels_of(of_type(editor.suggestions(), "rectanglelabels")) == ["Circle"]
