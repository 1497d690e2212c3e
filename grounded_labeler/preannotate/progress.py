"""How far a run is, image by image."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from grounded_labeler.console import Clock, tell
from grounded_labeler.preannotate.report import Summary
from grounded_labeler.preannotate.results import TaskOutcomes

_LINE_EVERY_S = 10.0


@contextmanager
def shown(
    summary: Summary, done: int, total: int, clock: Clock = time.monotonic
) -> Iterator[Callable[[TaskOutcomes], None]]:
    """Yield a function that counts outcomes in `summary` and shows how far the run is.

    On a terminal a bar moves on standard error, from `done` to `total` tasks. Elsewhere, as
    in a container's log, a line goes to standard output, every ten seconds at most.
    """
    progress = Progress(
        "{task.completed}/{task.total}",
        BarColumn(bar_width=None),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        "failures={task.fields[failures]}, regions={task.fields[regions]}",
        console=Console(stderr=True),
        auto_refresh=False,
        disable=not sys.stderr.isatty(),
        expand=True,
        redirect_stdout=False,
    )
    bar = progress.add_task("", start=False, total=total, completed=done, failures=0, regions=0)
    last: float | None = None

    def show(outcomes: TaskOutcomes) -> None:
        nonlocal done, last
        # Not before the first image: models are loading until then.
        progress.start()
        progress.start_task(bar)
        for outcome in outcomes.items():
            summary.add([outcome])
            done += 1
            regions, failures = summary.regions.total(), len(summary.failures)
            progress.update(bar, advance=1, refresh=True, failures=failures, regions=regions)
            if progress.disable and (last is None or clock() - last >= _LINE_EVERY_S):
                last = clock()
                tell(f"{done} of {total} tasks: {regions} regions, {failures} failures")

    try:
        yield show
    finally:
        progress.stop()
