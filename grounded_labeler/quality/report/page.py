"""Make the page of an evaluation: one HTML file that asks nobody for anything."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from grounded_labeler.__about__ import __version__
from grounded_labeler.core.types import RGBImage
from grounded_labeler.preannotate.results import TaskId
from grounded_labeler.quality.figures import Curve, Figures
from grounded_labeler.quality.measure import Evaluation, JudgedImage
from grounded_labeler.quality.report import words
from grounded_labeler.quality.report.pictures import (
    MISSED,
    RIGHT,
    WRONG,
    data_uri,
    draw_judged,
)
from grounded_labeler.quality.report.plots import COLORS, SIDE_COLORS, plot_curve
from grounded_labeler.rendering import Color

MOST_IMAGES = 32
_MOST_LABELS = 24  # with a curve of their own, or in the table of what was taken for what
_LARGE, _SMALL = (760, 340), (340, 220)  # pixels of a plot


class LoadImage(Protocol):
    """Loads the image of a task."""

    def __call__(self, task: TaskId, target: str, /) -> RGBImage | None:
        """Return uint8 RGB (H, W, 3), upright; None where it cannot be had any more."""


@dataclass(frozen=True)
class About:
    """What was measured, in words for people.

    Attributes:
        subject: what the images are of: "project 7 of http://label-studio", or a folder.
        asked: what was looked for.
        thresholds: which thresholds hold, and who set them.
        models: the models' names.
        version: the model version.
        floor: the lowest score of what was kept, in [0, 1].
        tasks_url: the address of a task is this with its id; None where tasks have none.
    """

    subject: str
    asked: str
    thresholds: str
    models: str
    version: str
    floor: float
    tasks_url: str | None = None


@dataclass(frozen=True)
class Picture:
    """An image of the page: its address, which holds all of it, and what stands below it."""

    source: str
    alt: str
    name: str
    said: str
    link: str | None


@dataclass(frozen=True)
class _Plot:
    name: str
    said: str
    svg: Markup


@dataclass(frozen=True)
class _Cell:
    """A number of the table of what was taken for what; `share` is its part of the row."""

    count: int
    share: float
    is_right: bool


def render_evaluation(
    about: About, evaluation: Evaluation, figures: Figures, load: LoadImage
) -> str:
    """Return the page of an evaluation as HTML, with the worst images drawn."""
    names, pairs = figures.confusion.names, figures.confusion.counts
    ordered = sorted(figures.labels, key=lambda one: -one.truths)[:_MOST_LABELS]
    shown = {one.label for one in ordered}
    return render(
        "evaluation.html",
        about=about,
        figures=figures,
        summary=words.summary(figures),
        notes=words.notes(figures, about.floor),
        curve=_plot(figures, figures.curves[0], _LARGE),
        small_curves=[
            _plot(figures, curve, _SMALL)
            for curve in figures.curves[1:]
            if curve.label in shown and len(names) > 1
        ],
        most_labels=_MOST_LABELS,
        table=_table(pairs) if len(names) <= _MOST_LABELS else None,
        confused=words.confused(names, pairs)[:_MOST_LABELS],
        pictures=list(pictures(evaluation.worst[:MOST_IMAGES], about, load)),
    )


def render(template: str, **values: object) -> str:
    """Return a template of this room as HTML; what is not our own markup is escaped."""
    environment = Environment(
        loader=PackageLoader("grounded_labeler.quality.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        figure=words.figure,
        interval=words.interval,
        label=words.name_of,
        color=_css,
    )
    colors = {"missed": MISSED, "wrong": WRONG, "right": RIGHT}
    return environment.get_template(template).render(
        **values,
        program_version=__version__,
        colors={name: _css(color) for name, color in colors.items()},
        line_colors=COLORS,
        side_colors=SIDE_COLORS,
        counted=words.counted,
    )


def pictures(images: Sequence[JudgedImage], about: About, load: LoadImage) -> Iterator[Picture]:
    """Draw images with what is missed and wrong in them; one that cannot be had is passed over."""
    for image in images:
        pixels = load(image.task, image.target)
        if pixels is not None:
            said = f"{image.missed:,} missed, {image.wrong:,} wrong"
            name = name_of_task(image.task)
            yield Picture(
                data_uri(draw_judged(pixels, image)),
                f"{name}: {said}",
                name,
                said,
                link_of(image.task, about),
            )


def name_of_task(task: TaskId) -> str:
    """What a task is called on the page: its number, or its file."""
    return f"task {task}" if isinstance(task, int) else words.name_of(task)


def link_of(task: TaskId, about: About) -> str | None:
    """The address of a task in Label Studio."""
    return None if about.tasks_url is None else f"{about.tasks_url}{task}"


def _plot(figures: Figures, curve: Curve, size: tuple[int, int]) -> _Plot:
    held: tuple[float, ...] = figures.total.thresholds
    if curve.label is not None:
        held = next(one.thresholds for one in figures.labels if one.label == curve.label)
    said = "nothing right is found at any threshold"
    if curve.best is not None:
        said = f"highest F1 {words.figure(curve.best_f1)} at {curve.best:.2f}"
    svg = plot_curve(figures.thresholds, curve, held, size=size)
    return _Plot("all labels together" if curve.label is None else curve.label, said, svg)


def _table(counts: Sequence[Sequence[int]]) -> list[list[_Cell]]:
    rows = np.array(counts, np.int64)
    totals = rows.sum(axis=1, keepdims=True)
    shares = np.divide(rows, totals, out=np.zeros(rows.shape), where=totals > 0)
    return [
        [
            _Cell(int(rows[row, column]), float(shares[row, column]), row == column)
            for column in range(len(rows))
        ]
        for row in range(len(rows))
    ]


def _css(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
