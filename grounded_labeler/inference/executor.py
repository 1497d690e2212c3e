"""The one thread that runs the models, and the bounded queue in front of it."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from grounded_labeler import metrics
from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.errors import CallerGone, NotReady
from grounded_labeler.inference.batching import BatchModels, BatchQueue, Priority, WorkItem
from grounded_labeler.models.runtime.device import Runtime

logger = logging.getLogger(__name__)

AnyJob = TypeVar("AnyJob")
Result = TypeVar("Result")
Cancelled = Callable[[], bool]
Clock = Callable[[], float]

_LOOK_SECONDS = 0.25  # between two looks at whether the caller is still there
# Longer than an annotator takes from one prompt to the next.
_IDLE_SECONDS = 60.0
_ONE_IN = 4  # of so many places pre-annotation leaves one to annotators


def never_cancelled() -> bool:
    """For callers that cannot go away, or of whom it is not known."""
    return False


class Models(Protocol):
    """Models that are ready; `batch_size` is how many pictures are asked about at once."""

    @property
    def device(self) -> str: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def runtime(self) -> Runtime | None: ...


class Asker(Protocol):
    """Has the models answer, in this process or elsewhere; threads share it.

    `is_lost` once nothing will be answered any more, until the process is replaced.
    """

    @property
    def is_lost(self) -> bool: ...

    def run(
        self,
        models: Any,  # noqa: ANN401 - those that this one asks
        jobs: Sequence[InferenceRequest],
        cancelled: Cancelled,
        patience: float,
        priority: Priority,
        /,
    ) -> list[InferenceResult]:
        """The answers to `jobs`, in order; raises CallerGone, NotReady and what models raise."""


class Executor:
    """Runs the models for one batch after the other, the most urgent first; threads share it.

    Two at once on the same cores or GPU would take as long together and twice the
    memory. `places` is how many requests may wait or be worked for at once.
    `deadline` is how many seconds one batch may take before it counts as stuck.
    """

    def __init__(
        self,
        places: int,
        deadline: float,
        when_idle: Callable[[], None] = lambda: None,
        idle_seconds: float = _IDLE_SECONDS,
        clock: Clock = time.monotonic,
    ) -> None:
        """`when_idle` is called, on the thread, once nothing came for `idle_seconds`."""
        self._places, self._taken = places, 0
        self._lock = threading.Lock()
        self._deadline, self._clock = deadline, clock
        self._when_idle, self._idle_seconds = when_idle, idle_seconds
        self._running_since: float | None = None
        # Whatever waits at one moment, all typed prompts among it go first.
        self._queue = BatchQueue(most_overtakes=places)
        # Not a ThreadPoolExecutor: the process could not end while its thread is stuck.
        self._thread = threading.Thread(target=self._work, name="models", daemon=True)
        self._thread.start()

    @property
    def is_lost(self) -> bool:
        """Whether the thread has ended, which it never should: only a new process has another."""
        return not self._thread.is_alive()

    @property
    def stuck_seconds(self) -> float | None:
        """How long the work that is stuck has taken by now; None when none is stuck."""
        since = self._running_since
        taken = 0.0 if since is None else self._clock() - since
        return taken if taken > self._deadline else None

    @property
    def waiting(self) -> int:
        """How many callers' work has not begun."""
        return len(self._queue)

    @contextmanager
    def place(self, priority: Priority = Priority.TYPED_PROMPT) -> Iterator[None]:
        """Held while a request is answered; raises NotReady at once when there is none.

        Pre-annotation cannot take the last places: an annotator would be refused for it.
        """
        self.refuse_if_stuck()
        reserved = self._places // _ONE_IN if priority >= Priority.PREANNOTATION else 0
        with self._lock:
            if self._taken >= self._places - reserved:
                raise NotReady("Too many requests are being answered: try again in a moment.")
            self._taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1

    def run(
        self,
        models: BatchModels[AnyJob, Result],
        jobs: Sequence[AnyJob],
        cancelled: Cancelled = never_cancelled,
        patience: float = math.inf,
        priority: Priority = Priority.PREANNOTATION,
    ) -> list[Result]:
        """Return what `models` answer to `jobs`, in order, or raise what they raise.

        Jobs of several callers are one batch where it has room for them.

        Raises CallerGone when `cancelled` before that: jobs whose turn has not come are not
        run then. Raises NotReady when their turn has not come after `patience` seconds,
        when the models are stuck or their thread has ended.
        """
        if cancelled():
            raise CallerGone
        end = self._clock() + patience
        item = WorkItem(models, jobs, priority)
        del jobs  # what they hold, pictures mostly, goes with the item
        self._queue.put(item)
        try:
            while not wait([item.results], timeout=_LOOK_SECONDS).done:
                if cancelled():
                    raise CallerGone
                self.refuse_if_stuck()
                if self._clock() > end and not item.begun and self._queue.leave(item):
                    raise NotReady("The models are busy with what came before: try again.")
            return item.results.result()
        finally:
            self._queue.leave(item)
            del item  # an error holds this frame, and must not hold itself through it

    def refuse_if_stuck(self) -> None:
        """Raises NotReady when a batch takes longer than the deadline, or the thread has ended."""
        seconds = self.stuck_seconds
        if seconds is not None:
            raise NotReady(
                f"The models have been at one batch for {seconds:.0f} s: restart the service."
            )
        if self.is_lost:
            raise NotReady("The thread that runs the models has ended: restart the service.")

    def _work(self) -> None:
        try:
            self._work_on()
        except BaseException:  # Python itself does not tell of some of them
            logger.critical("The thread that runs the models has ended", exc_info=True)
            raise

    def _work_on(self) -> None:
        patience: float | None = self._idle_seconds
        while True:
            batch = self._queue.take(patience)
            # What never ends is stuck, whatever it is.
            self._running_since = self._clock()
            if batch:
                self._answer(batch)
            else:
                self._idle()
            self._running_since = None
            # Once is enough until something comes.
            patience = self._idle_seconds if batch else None
            del batch  # what it holds goes now, not with the next one

    def _idle(self) -> None:
        try:
            self._when_idle()
        except Exception:
            logger.exception("Memory could not be given back; the models go on")

    def _answer(self, batch: list[WorkItem]) -> None:
        jobs = [job for item in batch for job in item.jobs]
        try:
            with metrics.AT_THE_MODELS.track_inprogress():
                results = batch[0].models.run(jobs)
        except BaseException as error:  # noqa: BLE001 - raised where the results are waited for
            self._running_since = None
            self._fail(batch, error)
            # The error holds this frame: with its future in it, it would hold itself.
            del batch, jobs
        else:
            self._running_since = None
            for item in batch:
                item.results.set_result(results[: len(item.jobs)])
                results = results[len(item.jobs) :]

    def _fail(self, batch: list[WorkItem], error: BaseException) -> None:
        if len(batch) == 1:
            batch[0].results.set_exception(error)
            return
        # Whose job it was is not known: it must not take the others' with it.
        logger.warning("A batch of %d callers failed: each is answered alone", len(batch))
        self._queue.put_back(batch)
