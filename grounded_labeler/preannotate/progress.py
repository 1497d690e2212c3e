"""How far a run is, picture by picture, for whoever watches it."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NoReturn

from tqdm import tqdm

from grounded_labeler.preannotate.console import Clock, tell
from grounded_labeler.preannotate.local_runner import Predictions
from grounded_labeler.preannotate.report import Summary

_LINE_EVERY_S = 10.0


@contextmanager
def shown(
    summary: Summary, done: int, total: int, clock: Clock = time.monotonic
) -> Iterator[Callable[[Predictions], None]]:
    """Yield a function that counts predictions in `summary` and shows how far the run is.

    On a terminal a bar moves on standard error, from `done` to `total` tasks. Elsewhere, as
    in a container's log, a line goes to standard output, every ten seconds at most.
    """
    bars: list[tqdm[NoReturn]] = []  # none before the first picture, as models are still loading
    last: float | None = None
    with ExitStack() as stack:

        def show(predictions: Predictions) -> None:
            nonlocal done, last
            if not bars:
                # miniters: else tqdm would guess after how many pictures to look at the time.
                bar = tqdm(total=total, initial=done, unit="task", disable=None, miniters=1)
                bars.append(stack.enter_context(bar))
            [bar] = bars
            for task, prediction in predictions.items():
                summary.add([(task, prediction)])
                done += 1
                regions, failures = summary.regions.total(), len(summary.failures)
                bar.set_postfix(regions=regions, failures=failures, refresh=False)
                bar.update()
                if bar.disable and (last is None or clock() - last >= _LINE_EVERY_S):
                    last = clock()
                    tell(f"{done} of {total} tasks: {regions} regions, {failures} failures")

        yield show
