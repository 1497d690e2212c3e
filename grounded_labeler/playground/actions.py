"""What happens on the page: each method gets what components hold, and returns what they show."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from grounded_labeler.errors import BadRequest, GroundedLabelerError
from grounded_labeler.playground.models import Models
from grounded_labeler.playground.pictures import Pictures
from grounded_labeler.playground.selection import Limits
from grounded_labeler.playground.session import Session
from grounded_labeler.playground.table import candidates_table
from grounded_labeler.server.inspector import InspectionQuery, Offer

logger = logging.getLogger(__name__)

ON, OFF = "on the object", "beside the object"  # where somebody clicks
ONE_IMAGE = "one"  # the tab

Updates = list[Any]  # what components show next, in the order of the outputs


@dataclass(frozen=True)
class Actions:
    """The actions of a page on these models and images.

    `state` is the session of a browser, `box` and `text` are the thresholds that its sliders show.
    """

    models: Models
    pictures: Pictures
    offer: Offer

    def about_many(self) -> str:
        """Say how the contact sheet is filled."""
        if self.pictures.project is None and not self.pictures.folder:
            return "Start the playground with --images FOLDER or --project NUMBER."
        return "Type what to look for, and press Find in the first images."

    def upload(self, state: Session, path: str | None, box: float, text: float) -> Updates:
        """Show a file that was uploaded."""

        def act() -> None:
            if path is not None:
                state.show(self.pictures.reader.file(Path(path)))

        return _one(state, Limits(box, text), act)

    def sample(self, state: Session, box: float, text: float, event: gr.SelectData) -> Updates:
        """Show one of the samples."""
        number = int(event.index)
        return _one(state, Limits(box, text), lambda: state.show(self.pictures.sample(number)))

    def address(self, state: Session, url: str, box: float, text: float) -> Updates:
        """Show what is at an address."""
        return _one(state, Limits(box, text), lambda: state.show(self.pictures.reader.address(url)))

    def task(self, state: Session, number: str, box: float, text: float) -> Updates:
        """Show the image of a task."""

        def act() -> None:
            if not number.strip().isdecimal():
                raise BadRequest("The id of a task is a whole number.")
            state.show(self.pictures.task(int(number)))

        return _one(state, Limits(box, text), act)

    def find(  # noqa: PLR0917 - Gradio gives what each component holds as an argument
        self, state: Session, prompt: str, labels: str, detector: str, segmenter: str,
        box: float, text: float,
    ) -> Updates:  # fmt: skip
        """Look for something in the image at hand."""

        def act() -> None:
            state.choose((detector, segmenter))
            state.find(self.models, query_of(prompt, labels), Limits(box, text))

        return _one(state, Limits(box, text), act)

    def redraw(self, state: Session, box: float, text: float) -> Updates:
        """Show what other thresholds keep; no model runs."""
        limits = Limits(box, text)
        return _one(state, limits) + _sheet(state, limits)

    def detector(self, state: Session, detector: str, segmenter: str) -> Updates:
        """Choose a detector, and take its thresholds."""
        chosen = next(one for one in self.offer.detectors if one.name == detector)
        limits = Limits(chosen.box_threshold, chosen.text_threshold)
        state.choose((detector, segmenter))
        state.seen = None
        return [limits.box, limits.text, *_one(state, limits)]

    def segmenter(
        self, state: Session, detector: str, segmenter: str, box: float, text: float
    ) -> Updates:
        """Choose a segmenter."""
        return _one(state, Limits(box, text), lambda: state.choose((detector, segmenter)))

    def click(
        self, state: Session, mode: str, box: float, text: float, event: gr.SelectData
    ) -> Updates:
        """Make the mask of what a click marks."""
        x, y = event.index
        return _one(
            state,
            Limits(box, text),
            lambda: state.click(self.models, x, y, is_positive=mode == ON),
        )

    def clear(self, state: Session, box: float, text: float) -> Updates:
        """Forget the clicks."""
        return _one(state, Limits(box, text), state.clear_clicks)

    def masks(self, state: Session, box: float, text: float) -> Updates:
        """Make the masks that boxes lack."""
        limits = Limits(box, text)
        return _one(state, limits, lambda: state.make_masks(self.models, limits))

    def find_all(  # noqa: PLR0917 - Gradio gives what each component holds as an argument
        self, state: Session, prompt: str, labels: str, detector: str, segmenter: str,
        box: float, text: float, progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio's way
    ) -> Updates:  # fmt: skip
        """Look for something in many images."""
        limits = Limits(box, text)

        def act() -> None:
            images = self.pictures.many()
            if not images:
                raise BadRequest(self.about_many())
            state.choose((detector, segmenter))
            state.find_in_all(
                self.models, query_of(prompt, labels), images,
                lambda done, count: progress((done, count), unit="images"),
            )  # fmt: skip

        problem = _problem(act)
        if problem is not None:
            return [state, said(problem, is_error=True), gr.skip()]
        return [state, *_sheet(state, limits)]

    def open(self, state: Session, box: float, text: float, event: gr.SelectData) -> Updates:
        """Show an image of the contact sheet, in the tab for one image."""
        x, y = event.index
        shown = _one(state, Limits(box, text), lambda: state.open_cell(x, y))
        return [*shown, gr.Tabs(selected=ONE_IMAGE)]

    def copy(self, state: Session, box: float, text: float) -> Updates:
        """Write the label config."""
        made: list[str] = []
        problem = _problem(lambda: made.append(state.label_config(Limits(box, text))))
        if problem is not None:
            return [gr.skip(), said(problem, is_error=True)]
        return [gr.Textbox(made[0], visible=True), gr.skip()]


def query_of(prompt: str, labels: str) -> InspectionQuery:
    """Return what the two fields ask for: `labels` are names with commas, or a label config."""
    prompt, labels = prompt.strip(), labels.strip()
    if labels.startswith("<"):
        return InspectionQuery(prompt or None, label_config=labels)
    names = tuple(name for name in map(str.strip, labels.split(",")) if name)
    return InspectionQuery(prompt or None, labels=names or None)


def _one(state: Session, limits: Limits, act: Callable[[], None] = lambda: None) -> Updates:
    """Do something, then show the image at hand, its status and its candidates."""
    problem = _problem(act)
    status = said(state.status(limits)) if problem is None else said(problem, is_error=True)
    return [state, status, state.drawn(limits), candidates_table(state.rows(limits))]


def _sheet(state: Session, limits: Limits) -> Updates:
    drawn = state.sheet(limits)
    if drawn is None:
        return [gr.skip(), gr.skip()]
    pixels, sentence = drawn
    return [said(sentence), pixels]


def _problem(act: Callable[[], None]) -> str | None:
    """Do something; return why it cannot be done, if so, as a sentence."""
    try:
        act()
    except GroundedLabelerError as error:
        logger.warning("%s", error)
        return str(error)
    return None


def said(sentence: str, *, is_error: bool = False) -> str:
    kind = "error" if is_error else "said"
    return f"<p class='{kind}'>{escape(sentence)}</p>"
