"""Flow 8: the prompt of one task is used on the next, by any worker and after a restart."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from e2e.configs import BOXES, view
from e2e.conftest import Annotate, StartService
from e2e.label_studio import LabelStudio
from e2e.pages import Editor
from e2e.truth import LARGE, TALL, WIDE, assert_found, drawn, of_type
from grounded_labeler.demo.process import free_port

MOST_TRIES = 40  # opened tasks until both workers have answered; a few do


def workers_that_predicted(log: Path) -> set[str]:
    """Process ids of the workers that answered for a task."""
    return set(
        re.findall(
            r"\[(\d+)\] INFO grounded_labeler.label_studio.prediction_builder \[.+\]: .*\btask ",
            log.read_text(),
        )
    )


def test_last_prompt_across_workers_and_a_restart(
    label_studio: LabelStudio,
    start_service: StartService,
    annotate: Annotate,
    editor: Editor,
    out: Path,
) -> None:
    log = out / "last-prompt" / "service.log"
    two_workers = {"PREANNOTATE": "last_prompt", "WORKERS": "2"}
    project = label_studio.project("Last prompt", view(BOXES))
    port = free_port()
    with start_service("last-prompt", port, **two_workers) as url:
        label_studio.connect(project, url)
        first, second = label_studio.upload(project, WIDE, TALL)
        annotate(project, first, "star")
        editor.open(project, second)
        expect(editor.prompts).to_have_text("star")
        assert_found(drawn(TALL), of_type(editor.regions(), "rectanglelabels"), "star")
        for _ in range(MOST_TRIES):
            if len(workers_that_predicted(log)) == 2:
                break
            [task] = label_studio.upload(project, LARGE)
            label_studio.open(task)
            predicted = label_studio.prediction(task)
            assert_found(drawn(LARGE), of_type(predicted, "rectanglelabels"), "star")
    assert len(workers_that_predicted(log)) == 2
    with start_service("last-prompt", port, **two_workers):
        [task] = label_studio.upload(project, WIDE)
        label_studio.open(task)
        predicted = label_studio.prediction(task)
        assert_found(drawn(WIDE), of_type(predicted, "rectanglelabels"), "star")


@pytest.mark.compatibility
def test_a_remembered_prompt_is_named_until_another_is_typed(
    label_studio: LabelStudio, start_service: StartService, annotate: Annotate, editor: Editor
) -> None:
    project = label_studio.project("Named", view(BOXES))
    with start_service("named", PREANNOTATE="last_prompt") as url:
        label_studio.connect(project, url)
        first, second = label_studio.upload(project, WIDE, TALL)
        annotate(project, first, "star")
        editor.open(project, second)
        expect(editor.status).to_contain_text('Asked with the remembered prompt "star". Found Star')
        editor.auto_annotation()
        editor.ask_instead("triangle")
        expect(editor.status).to_have_count(1)
        expect(editor.status).to_contain_text("Found Triangle: 1.")
        expect(editor.status).not_to_contain_text("remembered")


def test_a_marked_prompt_field_beside_notes(
    label_studio: LabelStudio, start_service: StartService, annotate: Annotate, editor: Editor
) -> None:
    marked = view(BOXES).replace(
        'name="prompt"', 'name="look for" model_prompt="true" preannotate="off"'
    )
    notes = '<TextArea name="notes" toName="image"/>'
    project = label_studio.project("Marked", marked.replace("<Image", f"{notes}<Image"))
    with start_service("marked", PREANNOTATE="labels") as url:
        label_studio.connect(project, url)
        first, second = label_studio.upload(project, WIDE, TALL)
        saved = annotate(project, first, "red circle")
        assert_found(drawn(WIDE), of_type(saved, "rectanglelabels"), "red circle")
        editor.open(project, second)  # which would ask for the labels
        assert editor.regions() == []
