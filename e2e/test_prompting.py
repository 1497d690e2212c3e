"""Flows 2, 5 and 6: an annotator types prompts next to images."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from e2e.configs import BOXES, view
from e2e.conftest import Annotate
from e2e.label_studio import LabelStudio
from e2e.pages import Editor
from e2e.truth import ROTATED, WIDE, assert_found, drawn, labels_of, of_type


@pytest.fixture(scope="module")
def project(label_studio: LabelStudio, service: str) -> int:
    project = label_studio.project("Boxes", view(BOXES))
    label_studio.connect(project, service)
    return project


@pytest.fixture
def task(label_studio: LabelStudio, project: int) -> int:
    return label_studio.upload(project, WIDE)[0]


@pytest.mark.compatibility
def test_type_accept_submit_reopen(
    label_studio: LabelStudio, project: int, task: int, editor: Editor
) -> None:
    editor.open(project, task)
    editor.auto_annotation()
    editor.ask("red circle")
    assert_found(drawn(WIDE), of_type(editor.suggestions(), "rectanglelabels"), "red circle")
    editor.accept()
    editor.submit()
    saved = label_studio.annotation(task)
    assert_found(drawn(WIDE), of_type(saved, "rectanglelabels"), "red circle")
    editor.open(project, task)
    assert_found(drawn(WIDE), of_type(editor.regions(), "rectanglelabels"), "red circle")
    assert editor.prompts.inner_text() == "red circle"


def test_what_is_not_accepted_is_not_saved(
    label_studio: LabelStudio, project: int, task: int, editor: Editor
) -> None:
    editor.open(project, task)
    editor.auto_annotation()
    editor.ask("star")
    assert len(editor.suggestions()) == 2
    editor.submit()
    assert of_type(label_studio.annotation(task), "rectanglelabels") == []


@pytest.mark.parametrize(
    "prompt",
    ["blue ring . red circle; blue star", "blue ring, red circle\nblue star"],
    ids=["on one line", "on two lines"],
)
def test_several_phrases(
    project: int, task: int, annotate: Annotate, editor: Editor, prompt: str
) -> None:
    boxes = of_type(annotate(project, task, prompt), "rectanglelabels")
    assert_found(drawn(WIDE), boxes, "blue ring", "red circle", "blue star")
    expect(editor.status).to_contain_text("Found Star: 1, Circle: 1, Ring: 1")


def test_a_phrase_mapped_to_a_label(project: int, task: int, annotate: Annotate) -> None:
    boxes = of_type(annotate(project, task, "red circle -> Square . star"), "rectanglelabels")
    assert labels_of(boxes) == ["Square", "Star", "Star"]


def test_a_phrase_that_is_no_label_comes_without_one(
    project: int, task: int, annotate: Annotate
) -> None:
    [box] = of_type(annotate(project, task, "red shape"), "rectanglelabels")
    assert box["value"].get("rectanglelabels", []) == []
    assert box["meta"]["text"] == ["red shape"]


def test_nothing_found_is_said(project: int, task: int, annotate: Annotate, editor: Editor) -> None:
    saved = annotate(project, task, "green triangle")
    assert of_type(saved, "rectanglelabels") == []
    expect(editor.status).to_contain_text("Nothing found")


def test_an_unreadable_image_is_said(
    label_studio: LabelStudio, project: int, editor: Editor, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(WIDE.read_bytes()[:300])
    [task] = label_studio.upload(project, broken)
    editor.open(project, task)
    editor.auto_annotation()
    editor.ask("red circle")
    expect(editor.status).to_contain_text("damaged")
    assert editor.suggestions() == []


@pytest.mark.compatibility
def test_a_second_prompt_adds_to_what_was_accepted(
    label_studio: LabelStudio, project: int, task: int, editor: Editor
) -> None:
    editor.open(project, task)
    editor.auto_annotation()
    editor.ask("red circle")
    editor.accept()
    editor.ask_instead("blue ring")
    assert_found(drawn(WIDE), of_type(editor.suggestions(), "rectanglelabels"), "blue ring")
    editor.accept()
    editor.submit()
    boxes = of_type(label_studio.annotation(task), "rectanglelabels")
    assert_found(drawn(WIDE), boxes, "red circle", "blue ring")


@pytest.mark.compatibility
def test_auto_accept_and_a_submit_that_suggests_nothing_new(
    label_studio: LabelStudio, project: int, task: int, editor: Editor
) -> None:
    editor.open(project, task)
    editor.auto_annotation(accept=True)
    editor.ask("red circle")
    editor.ask_instead("star")
    assert editor.suggestions() == []
    asked = editor.asked
    editor.submit()
    assert editor.asked == asked + 1  # Label Studio asks once more when an annotation is saved
    assert editor.suggestions() == []
    boxes = of_type(label_studio.annotation(task), "rectanglelabels")
    assert_found(drawn(WIDE), boxes, "red circle", "blue star", "orange star")
    assert len(of_type(editor.regions(), "rectanglelabels")) == 3


def test_a_photo_stored_on_its_side(
    label_studio: LabelStudio, project: int, annotate: Annotate
) -> None:
    """Flow 9: where it is displayed upright, the boxes lie on it too."""
    [task] = label_studio.upload(project, ROTATED)
    boxes = of_type(annotate(project, task, "red ring; red circle"), "rectanglelabels")
    assert_found(drawn(ROTATED), boxes, "red ring", "red circle")
