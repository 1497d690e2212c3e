"""Models whose jobs are functions, and a queue whose thread a test holds."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from grounded_labeler.errors import NotReady
from grounded_labeler.inference.backend import Cancelled, Priority, never_cancelled
from grounded_labeler.inference.queue import InferenceQueue

WAIT_S = 60.0  # the end of a hang; nothing waits so long on any machine


class Calls:
    """Models whose jobs are functions: a result is what one returns. `batches` counts jobs."""

    def __init__(self, batch_size: int = 1) -> None:
        self.batch_size = batch_size
        self.batches: list[int] = []

    def run(self, jobs: Sequence[Callable[[], Any]]) -> list[Any]:
        self.batches.append(len(jobs))
        return [job() for job in jobs]


def call(
    queue: InferenceQueue,
    job: Callable[[], Any],
    cancelled: Cancelled = never_cancelled,
    timeout_s: float = WAIT_S,
    priority: Priority = Priority.PREANNOTATION,
) -> Any:
    """What `job` returns, on the models' thread."""
    [result] = queue.run(Calls(), [job], cancelled, timeout_s, priority)
    return result


class Work:
    """A job that ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.end = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.end.wait(WAIT_S)
        return "done"


@contextmanager
def held(queue: InferenceQueue) -> Iterator[Work]:
    """The models' thread is busy, until the work ends or the block is left."""
    work = Work()

    def hold() -> None:
        with suppress(NotReady):  # a test may let it be stuck
            call(queue, work)

    holder = threading.Thread(target=hold)
    holder.start()
    assert work.begun.wait(WAIT_S)
    try:
        yield work
    finally:
        work.end.set()
        holder.join(WAIT_S)
