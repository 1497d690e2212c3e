"""Flows 12 and 13: what a label config says is followed, and so are changes to it."""

from playwright.sync_api import Page, expect

from e2e.configs import BOXES, NUMBER, view
from e2e.conftest import Annotate
from e2e.label_studio import LabelStudio
from e2e.pages import Editor, Settings
from e2e.truth import WIDE, assert_found, drawn, labels_of, of_type


def test_a_threshold_the_annotator_sets(
    label_studio: LabelStudio, service: str, editor: Editor, page: Page
) -> None:
    project = label_studio.project("Threshold field", view(NUMBER, BOXES))
    label_studio.connect(project, service)
    [task] = label_studio.upload(project, WIDE)
    editor.open(project, task)
    editor.auto_annotation()
    threshold = page.locator("input[type=number]")
    threshold.fill("0.99")
    editor.ask("red circle")
    expect(editor.status).to_contain_text("the box threshold is 0.99")
    assert editor.suggestions() == []
    threshold.fill("0.5")
    editor.take_back_prompt()
    editor.ask("red circle")
    assert_found(drawn(WIDE), of_type(editor.suggestions(), "rectanglelabels"), "red circle")
    editor.accept()
    editor.submit()
    saved = label_studio.annotation(task)
    assert_found(drawn(WIDE), of_type(saved, "rectanglelabels"), "red circle")


def test_a_threshold_of_a_tag(
    label_studio: LabelStudio, service: str, annotate: Annotate, editor: Editor
) -> None:
    strict = BOXES.replace("<RectangleLabels ", '<RectangleLabels model_score_threshold="0.99" ')
    project = label_studio.project("Threshold attribute", view(strict))
    label_studio.connect(project, service)
    [task] = label_studio.upload(project, WIDE)
    assert of_type(annotate(project, task, "red circle"), "rectanglelabels") == []
    expect(editor.status).to_contain_text("the box threshold is 0.99")


def test_a_config_edited_while_connected(
    label_studio: LabelStudio, service: str, settings: Settings, annotate: Annotate
) -> None:
    project = label_studio.project("Edited", view(BOXES))
    label_studio.connect(project, service)
    first, second = label_studio.upload(project, WIDE, WIDE)
    before = of_type(annotate(project, first, "red circle"), "rectanglelabels")
    assert labels_of(before) == ["Circle"]
    renamed = BOXES.replace('value="Circle"', 'value="Disc" predicted_values="circle"')
    settings.write_config(project, view(renamed))
    after = of_type(annotate(project, second, "red circle"), "rectanglelabels")
    assert labels_of(after) == ["Disc"]
