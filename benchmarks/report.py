"""Rounds of measured seconds as one table, a JSON file and a plot."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.timing import STAGES, WHOLE, Seconds

Record = Mapping[str, Any]

_OURS, _THEIRS = "#1b6ca8", "#d9822b"
_BAR = 0.38
_COLUMNS = 2


@dataclass(frozen=True)
class Row:
    """One stage of one case; the seconds are None on the side that has no such stage.

    `note` is what else is to be said of it.
    """

    case: str
    stage: str
    ours: float | None
    reference: float | None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times longer the reference takes."""
        if not self.ours or self.reference is None:
            return None
        return self.reference / self.ours


def rows(case: str, ours: Sequence[Seconds], reference: Sequence[Seconds]) -> list[Row]:
    """The medians of each stage over the rounds of both sides, in a request's order, whole last.

    A stage that is missing in a round took no time there. One called "detect: fusion" is a
    part of "detect" and follows it.
    """
    named = {stage for seconds in (*ours, *reference) for stage in seconds}
    order = [
        name
        for stage in STAGES
        for name in (stage, *sorted(part for part in named if part.startswith(f"{stage}: ")))
    ]
    order += [*sorted(named - {*order, WHOLE}), WHOLE]
    return [
        Row(case, stage, _median(stage, ours), _median(stage, reference))
        for stage in order
        if stage in named
    ]


def print_table(table: Iterable[Row], console: Console | None = None) -> None:
    """All rows in milliseconds, to standard output unless `console` goes elsewhere."""
    view = Table(header_style="bold")
    view.add_column("case", no_wrap=True)
    view.add_column("stage", no_wrap=True)
    for column in ("ours, ms", "reference, ms", "times faster"):
        view.add_column(column, justify="right")
    view.add_column("note")
    case = None
    for row in table:
        if case not in (None, row.case):
            view.add_section()
        view.add_row(
            "" if row.case == case else row.case,
            row.stage,
            _milliseconds(row.ours),
            _milliseconds(row.reference),
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.note,
            style="bold" if row.stage == WHOLE else None,
        )
        case = row.case
    (console or Console()).print(view)


def print_records(title: str, records: Sequence[Record], console: Console | None = None) -> None:
    """Records of the same keys, which are the table's columns, as far as a record has them."""
    columns = dict.fromkeys(key for record in records for key in record)
    view = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        view.add_column(name, justify="left" if name == next(iter(columns)) else "right")
    for record in records:
        view.add_row(*(_shown(record.get(name, "")) for name in columns))
    (console or Console()).print(view)


def write_json(
    path: Path,
    table: Iterable[Row],
    machine: Mapping[str, Any],
    date: str | None = None,
    records: Mapping[str, Sequence[Record]] | None = None,
) -> None:
    """Rows, in seconds, other records by name, and what all was measured on.

    Without `date` no day is named.
    """
    content = {
        **({"date": date} if date else {}),
        "machine": dict(machine),
        "rows": [{**asdict(row), "ratio": row.ratio} for row in table],
        **(records or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def plot(path: Path, table: Sequence[Row], title: str = "") -> None:
    """One panel for each case, a pair of bars for each stage, on a logarithmic scale."""
    cases = list(dict.fromkeys(row.case for row in table))
    panels = [[row for row in table if row.case == case] for case in cases]
    columns = min(len(cases), _COLUMNS)
    lines = -(-len(cases) // columns)
    tallest = max(len(panel) for panel in panels) + 1.5
    figure = Figure(figsize=(8 * columns, 0.42 * tallest * lines + 1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, sharex=True, squeeze=False).flatten()
    for axis, case, panel in zip(axes, cases, panels, strict=False):
        _draw(axis, case, panel)
        axis.tick_params(labelbottom=True)
    for axis in axes[len(cases) :]:
        axis.set_visible(False)
    low, high = axes[0].get_xlim()
    axes[0].set_xlim(low, high * 4)  # room for the figures beside the bars
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False)
    if title:
        figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _draw(axis: Axes, case: str, panel: Sequence[Row]) -> None:
    for shift, color, label in ((-_BAR / 2, _OURS, "ours"), (_BAR / 2, _THEIRS, "reference")):
        for place, row in enumerate(panel):
            seconds = row.ours if label == "ours" else row.reference
            if not seconds:
                continue
            bar = axis.barh(place + shift, seconds * 1000, _BAR, color=color)
            axis.bar_label(bar, [_milliseconds(seconds)], padding=3, fontsize=7.5)
        axis.barh(0, 0, _BAR, color=color, label=label)
    axis.set_yticks(range(len(panel)), [row.stage for row in panel])
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_title(case, loc="right", fontsize=10)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    axis.set_xlabel("milliseconds, median")
    axis.spines[["top", "right"]].set_visible(False)


def _median(stage: str, rounds: Sequence[Seconds]) -> float | None:
    if not any(stage in seconds for seconds in rounds):
        return None
    return statistics.median(seconds.get(stage, 0.0) for seconds in rounds)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    value = seconds * 1000
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
