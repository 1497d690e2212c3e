"""Make the page of a comparison, and write it with its figures."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import RootModel

from grounded_labeler.evaluation.comparison import Difference
from grounded_labeler.quality.comparison import Comparison, ComparisonFigures, DifferentImage
from grounded_labeler.quality.files import write_whole
from grounded_labeler.quality.report import words
from grounded_labeler.quality.report.files import COMPARED_LABELS, COMPARISON, COMPARISON_FIGURES
from grounded_labeler.quality.report.page import (
    MOST_IMAGES,
    About,
    LoadImage,
    link_of,
    name_of_task,
    render,
)
from grounded_labeler.quality.report.pictures import data_uri, draw_judged
from grounded_labeler.quality.report.plots import plot_trade

_PLOT = (560, 400)  # pixels


@dataclass(frozen=True)
class Pair:
    """An image as A and as B see it: their addresses, which hold all of it, and what differs."""

    a: str
    b: str
    name: str
    said: str
    link: str | None


@dataclass(frozen=True)
class Side:
    """A or B: what it is called, and where its own report is, beside the page."""

    letter: str
    name: str
    about: About
    report: str


def render_comparison(
    sides: tuple[Side, Side], comparison: Comparison, figures: ComparisonFigures, load: LoadImage
) -> str:
    """Return the page of a comparison as HTML, with the images that differ most drawn twice."""
    shown = comparison.different[:MOST_IMAGES]
    return render(
        "comparison.html",
        sides=sides,
        figures=figures,
        summary=comparison_summary(figures),
        notes=comparison_notes(figures),
        trade=plot_trade((figures.a, figures.b), size=_PLOT),
        pairs=list(_pairs(shown, sides[0].about, load)),
        difference=words_of_difference,
    )


def comparison_summary(figures: ComparisonFigures) -> list[str]:
    """Say in some three sentences which one is better, if the images can tell."""
    total = figures.total
    if not figures.images:
        return ["No image could be measured with both."]
    f1 = total.f1
    if f1.a is None or f1.b is None or f1.difference is None:
        said = ["F1 is not defined for both: there is nothing to compare."]
    else:
        both = f"F1 {words.figure(f1.a)} with A, {words.figure(f1.b)} with B"
        said = [f"{_verdict(f1)}: {both}, a difference of {words_of_difference(f1)}."]
    said.append(
        f"Of {words.counted(total.truths, 'object')} in "
        f"{words.counted(figures.images, 'image')}, both find {total.both:,}, only A "
        f"{total.only_a:,}, only B {total.only_b:,}, and neither {total.neither:,}."
    )
    said.append(
        f"Of the detections that are wrong, {total.wrong_both:,} are of both, "
        f"{total.wrong_only_a:,} of A alone and {total.wrong_only_b:,} of B alone."
    )
    clear = [one for one in figures.labels if one.label is not None and _is_clear(one.f1)]
    if len(figures.labels) > 1 and clear:
        better = [one.label or "" for one in clear if (one.f1.difference or 0) > 0]
        worse = [one.label or "" for one in clear if (one.f1.difference or 0) < 0]
        parts = [f"B is better at {words.listed(better)}"] * bool(better)
        parts += [f"A is better at {words.listed(worse)}"] * bool(worse)
        said.append(f"By label, {' and '.join(parts)}; of the others the images do not tell.")
    return said


def comparison_notes(figures: ComparisonFigures) -> list[str]:
    """Say what is not compared."""
    said = []
    for letter, name, own in (("A", figures.name_a, figures.a), ("B", figures.name_b, figures.b)):
        absent = [one.label for one in own.labels if not one.thresholds and one.label is not None]
        if absent:
            said.append(
                f"{letter} ({words.name_of(name)}) does not look for {words.listed(absent)}: "
                "objects of it are missed by it."
            )
    failed = len(figures.a.failed.keys() | figures.b.failed.keys())
    if failed:
        said.append(
            f"{words.counted(failed, 'task')} could not be measured with both and "
            f"{'is' if failed == 1 else 'are'} left out: failures.tsv says why."
        )
    return said


def words_of_difference(of: Difference) -> str:
    """Write a difference with its interval: "+0.06, +0.02 to +0.09"."""
    if of.difference is None or of.low is None or of.high is None:
        return words.NOT_DEFINED
    return f"{_signed(of.difference)}, {_signed(of.low)} to {_signed(of.high)}"


def write_comparison(out: Path, page: str, figures: ComparisonFigures) -> None:
    """Write the page of a comparison, all figures as JSON, and the labels as CSV."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / COMPARISON, page)
    write_whole(
        out / COMPARISON_FIGURES,
        f"{RootModel(figures).model_dump_json(indent=1)}\n",
    )
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(
        ["label", "objects", "both", "only_a", "only_b", "neither", "wrong_both", "wrong_only_a",
         "wrong_only_b", "f1_a", "f1_b", "difference", "difference_low", "difference_high"]
    )  # fmt: skip
    for one in (*figures.labels, figures.total):
        name = words.ALL_TOGETHER if one.label is None else one.label
        f1 = one.f1
        writer.writerow(
            [name, one.truths, one.both, one.only_a, one.only_b, one.neither, one.wrong_both,
             one.wrong_only_a, one.wrong_only_b, f1.a, f1.b, f1.difference, f1.low, f1.high]
        )  # fmt: skip
    write_whole(out / COMPARED_LABELS, written.getvalue(), newline="")


def _verdict(f1: Difference) -> str:
    if not _is_clear(f1):
        return "The images do not tell which one is better"
    return "B is better" if (f1.difference or 0) > 0 else "A is better"


def _is_clear(f1: Difference) -> bool:
    """Whether the interval of a difference leaves out 0."""
    return f1.low is not None and f1.high is not None and not f1.low <= 0 <= f1.high


def _signed(value: float) -> str:
    text = f"{value:+.2f}"
    return "0.00" if text in {"+0.00", "-0.00"} else text.replace("-", "\N{MINUS SIGN}")


def _pairs(images: Sequence[DifferentImage], about: About, load: LoadImage) -> Iterator[Pair]:
    for image in images:
        pixels = load(image.a.task, image.a.target)
        if pixels is not None:
            yield Pair(
                data_uri(draw_judged(pixels, image.a)),
                data_uri(draw_judged(pixels, image.b)),
                name_of_task(image.a.task),
                _differences(image),
                link_of(image.a.task, about),
            )


def _differences(image: DifferentImage) -> str:
    parts = [
        f"only {side} {what} {count:,}"
        for side, what, count in (
            ("A", "finds", image.only_a),
            ("B", "finds", image.only_b),
            ("A", "is wrong at", image.wrong_only_a),
            ("B", "is wrong at", image.wrong_only_b),
        )
        if count
    ]
    return ", ".join(parts)
