"""What masks cost in Label Studio's editor: `python -m benchmarks.editor`.

A real Label Studio, with SQLite, is started on loopback, as `make e2e` does and needs it, and
its editor is opened in Chromium without a window. The same objects are there as brush, bitmask
and polygon, in turns; seconds are those of the browser's own clock. A part by itself because it
loads no models.
"""

import argparse
import json
import shutil
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import cv2
from playwright.sync_api import Browser, BrowserContext, ViewportSize, sync_playwright
from rich.console import Console

from benchmarks import report
from benchmarks.blobs import CONFIGS, Form, blotches, draw_blobs, predicted
from benchmarks.browser_memory import BrowserMemory
from benchmarks.editor_page import (
    LIMIT_S,
    DoesNotAnswer,
    EditorPage,
    Expected,
    Opened,
    Submitted,
)
from benchmarks.machine import cpu_name
from benchmarks.report import Record
from e2e.label_studio import PROGRAMS, LabelStudio, run_label_studio
from e2e.pages import log_in
from grounded_labeler.errors import GroundedLabelerError

SIZES_WH: Sequence[tuple[int, int]] = ((1920, 1080), (4000, 3000))
COUNTS: Sequence[int] = (5, 20, 100)
_CHROMIUM = "chromium"
_VIEWPORT: ViewportSize = {"width": 1400, "height": 900}
_OUTPUT = Path(__file__).parent / "output"
_WIDTH = 240  # of the table, in characters
_Step = TypeVar("_Step", Opened, Submitted)


class CannotMeasure(GroundedLabelerError):
    """What the measurement needs is not installed."""


@dataclass(frozen=True)
class Case:
    """So many objects in an image of a size, in one form."""

    size_wh: tuple[int, int]
    count: int
    form: Form

    @property
    def name(self) -> str:
        width, height = self.size_wh
        return f"{width}x{height}, {self.count} masks, {self.form}"


@dataclass
class Measured:
    """All rounds of a case; a step that the editor did not answer has None and ends its round.

    `answer_bytes` is the body of our response to /predict, `stored_bytes` and `saved_bytes` are
    the result in Label Studio's database, of the prediction and of the annotation.
    """

    answer_bytes: int
    stored_bytes: int
    saved_bytes: int | None = None
    opened: list[Opened | None] = field(default_factory=list)
    submitted: list[Submitted | None] = field(default_factory=list)
    reopened: list[Opened | None] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)

    @property
    def is_given_up(self) -> bool:
        """Whether there was a step that the editor did not answer: no further round changes it."""
        return None in (*self.opened, *self.submitted, *self.reopened)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON; returns the exit code."""
    options = _parser().parse_args(arguments)
    cases = [
        Case(size_wh, count, form)
        for size_wh in SIZES_WH
        for count in (options.count or COUNTS)
        for form in (options.form or CONFIGS)
        if not options.size or f"{size_wh[0]}x{size_wh[1]}" in options.size
    ]
    path = _OUTPUT / "editor.json"
    records: list[Record] = []
    try:
        # Written after each round: all of them take more than an hour.
        for turn, measured in enumerate(measure(cases, options.rounds), start=1):
            records = [record(case, measured[case]) for case in cases]
            facts = {"cpu": cpu_name(), "rounds": turn, "limit, s": LIMIT_S}
            report.write_json(path, [], facts, records={"editor": records})
    except CannotMeasure as error:
        sys.stderr.write(f"{error}\n")
        return 1
    console = Console(width=max(Console().width, _WIDTH))
    title = f"Medians of {options.rounds} rounds, in Label Studio's editor"
    report.print_records(title, records, console)
    console.print(f"All figures: {path.name}")
    return 0


def measure(cases: Sequence[Case], rounds: int) -> Iterator[Mapping[Case, Measured]]:
    """Open each case's task, submit it and open it again, in turns over all cases.

    Yields what was measured so far after each round. What the editor did not answer once is not
    tried again.

    Raises CannotMeasure when Label Studio or Chromium is missing.
    """
    chromium = shutil.which(_CHROMIUM)
    if chromium is None or not (PROGRAMS / "label-studio").is_file():
        raise CannotMeasure(
            "Label Studio's virtual environment or Chromium is missing: `make e2e` installs both."
        )
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "label-studio"
        with run_label_studio(home) as label_studio, _browser(chromium) as browser:
            login = log_in(browser, label_studio.url)
            found: dict[Case, Measured] = {}
            for turn in range(rounds):
                for case in cases:
                    if case in found and found[case].is_given_up:
                        continue
                    _say(f"round {turn + 1}: {case.name}")
                    context = browser.new_context(storage_state=login, viewport=_VIEWPORT)
                    try:
                        _round(context, label_studio, home, case, found)
                    finally:
                        context.close()
                yield found


def record(case: Case, measured: Measured) -> Record:
    """A line of the table, with medians; "no" where the editor did not answer in every round."""
    opened, submitted, reopened = measured.opened, measured.submitted, measured.reopened
    return {
        "case": case.name,
        "/predict, kB": measured.answer_bytes / 1000,
        "stored, kB": measured.stored_bytes / 1000,
        "download, kB": _median(opened, lambda one: one.bytes / 1000),
        "drawn, s": _median(opened, lambda one: one.drawn_s),
        "answers, s": _median(opened, lambda one: one.answers_s),
        "blocked, s": _median(opened, lambda one: one.blocking_s),
        "longest task, s": _median(opened, lambda one: one.longest_s),
        "processor, s": _median(opened, lambda one: one.processor_s),
        "select, s": _median(opened, lambda one: one.select_s),
        "Submit sent, s": _median(submitted, lambda one: one.sent_s),
        "Submit, processor, s": _median(submitted, lambda one: one.processor_s),
        "Submit, kB": _median(submitted, lambda one: one.bytes / 1000),
        "saved, kB": "no" if measured.saved_bytes is None else measured.saved_bytes / 1000,
        "again, s": _median(reopened, lambda one: one.answers_s),
        "again, processor, s": _median(reopened, lambda one: one.processor_s),
        "memory, GiB": statistics.median(measured.peaks) / 2**30,
    }


def _median(steps: Sequence[_Step | None], value: Callable[[_Step], float]) -> float | str:
    done = [step for step in steps if step is not None]
    return statistics.median(map(value, done)) if done and len(done) == len(steps) else "no"


def _round(
    context: BrowserContext,
    label_studio: LabelStudio,
    home: Path,
    case: Case,
    found: dict[Case, Measured],
) -> None:
    """One task of a project of its own: opened, submitted, opened again."""
    width, height = case.size_wh
    blobs = draw_blobs(case.count, case.size_wh)
    result = predicted(blobs, case.form)
    answer = {"results": [{"result": result, "score": 0.65, "model_version": "benchmark"}]}
    project = label_studio.project(case.name[:50], CONFIGS[case.form])
    image = home / f"{width}x{height}.jpg"
    if not image.is_file():
        cv2.imwrite(str(image), blotches(case.size_wh))
    [task] = label_studio.upload(project, image)
    label_studio.predict(task, result)
    points = [((x + 0.5) / width, (y + 0.5) / height) for x, y in (blob.inside for blob in blobs)]
    expected = Expected(len(result), points)
    url = f"{label_studio.url}/projects/{project}/data?task={task}"
    measured = found.setdefault(
        case,
        Measured(
            len(json.dumps(answer, separators=(",", ":"))),
            _stored(home, "prediction", task),
        ),
    )
    with BrowserMemory(_CHROMIUM) as memory:
        opened = submitted = reopened = None
        try:
            with EditorPage(context, url, expected) as page:
                opened = page.open(home / f"{case.name}.png")
                submitted = page.submit()
            measured.saved_bytes = _stored(home, "task_completion", task)
            with EditorPage(context, url, expected) as page:
                reopened = page.open()
        except DoesNotAnswer as error:
            _say(f"  does not answer: {error}")
    measured.opened.append(opened)
    measured.submitted.append(submitted)
    measured.reopened.append(reopened)
    measured.peaks.append(memory.peak)
    _say(f"  {opened}\n  {submitted}\n  {reopened}\n  {memory.peak / 2**30:.1f} GiB")


def _stored(home: Path, table: str, task: int) -> int:
    """Bytes of the result that Label Studio keeps of a task."""
    [database] = (home / "data").glob("*.sqlite3")
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        query = f"select length(cast(result as blob)) from {table} where task_id = ?"
        [(size,)] = connection.execute(query, (task,)).fetchall()
    return int(size)


@contextmanager
def _browser(program: str) -> Iterator[Browser]:
    """Debian's Chromium, without its sandbox, which root cannot have and loopback does not need."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.editor", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each case is opened")
    parser.add_argument("--count", type=int, action="append", help="of masks; may be repeated")
    parser.add_argument("--form", choices=list(CONFIGS), action="append", help="may be repeated")
    sizes = [f"{width}x{height}" for width, height in SIZES_WH]
    parser.add_argument("--size", choices=sizes, action="append", help="may be repeated")
    return parser


if __name__ == "__main__":
    sys.exit(main())
