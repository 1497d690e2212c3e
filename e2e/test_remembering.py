"""Flow 8: the prompt of one task is used on the next, by any worker and after a restart."""

import re
from pathlib import Path

from playwright.sync_api import expect

from e2e.configs import BOXES, view
from e2e.conftest import Annotate, StartService
from e2e.label_studio import LabelStudio
from e2e.pages import Editor
from e2e.truth import LARGE, TALL, WIDE, assert_found, drawn, of_type
from grounded_labeler.demo.running import free_port

MOST_TRIES = 40  # opened tasks until both workers have answered; a few do


def workers_that_predicted(log: Path) -> set[str]:
    """Process ids of the workers that answered for a task."""
    return set(re.findall(r"\[(\d+)\] INFO grounded_labeler.answers: task", log.read_text()))


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
