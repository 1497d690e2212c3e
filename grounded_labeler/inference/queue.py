"""The one thread that runs the models, and the bounded queue in front of it."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from typing import TypeVar

from grounded_labeler import metrics
from grounded_labeler.errors import CallerGone, NotReady
from grounded_labeler.inference.backend import Cancelled, Priority, never_cancelled
from grounded_labeler.inference.batching import AnyWorkItem, BatchModels, BatchQueue, WorkItem
from grounded_labeler.request_context import entered, together

logger = logging.getLogger(__name__)

Request = TypeVar("Request")
Result = TypeVar("Result")
Clock = Callable[[], float]

_BUSY = "The models are busy with earlier requests: try again in a moment."
_POLL_S = 0.25  # between two checks whether the caller is still there
_IDLE_SECONDS = 60.0  # longer than an annotator takes from one prompt to the next
_MOST_OVERTAKES = 16


class InferenceQueue:
    """Runs the models for one batch after the other, the most urgent first; threads share it.

    Two batches at once on the same cores or GPU would take as long together and twice the
    memory. A batch that runs for longer than `deadline_s` seconds counts as stuck.
    """

    def __init__(
        self,
        deadline_s: float,
        when_idle: Callable[[], None] = lambda: None,
        idle_seconds: float = _IDLE_SECONDS,
        clock: Clock = time.monotonic,
        most_overtakes: int = _MOST_OVERTAKES,
    ) -> None:
        """Start the thread.

        Args:
            deadline_s: seconds after which a running batch counts as stuck.
            when_idle: called on the thread, once, when no request came for `idle_seconds`.
            idle_seconds: seconds without a request after which the thread counts as idle.
            clock: what tells the time, in seconds.
            most_overtakes: typed prompts in a row that go before an older request. As many as
                there are slots: all typed prompts that wait at one moment then go first.
        """
        self._deadline_s, self._clock = deadline_s, clock
        self._when_idle, self._idle_seconds = when_idle, idle_seconds
        self._running_since: float | None = None
        self._queue = BatchQueue(most_overtakes)
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
        return taken if taken > self._deadline_s else None

    @property
    def waiting(self) -> int:
        """How many callers' work has not begun."""
        return len(self._queue)

    def run(
        self,
        models: BatchModels[Request, Result],
        requests: Sequence[Request],
        cancelled: Cancelled = never_cancelled,
        timeout_s: float = math.inf,
        priority: Priority = Priority.PREANNOTATION,
    ) -> list[Result]:
        """Return the models' results for `requests`, in order, or raise what they raise.

        Requests of several callers are one batch where it has room for them.

        Raises CallerGone when `cancelled` before that: requests whose turn has not come do not
        run then. Raises NotReady when their turn has not come after `timeout_s` seconds,
        when the models are stuck or their thread has ended.
        """
        if cancelled():
            raise CallerGone
        end = self._clock() + timeout_s
        item = WorkItem(models, requests, priority)
        del requests  # what they hold, images mostly, goes with the item
        self._queue.put(item)
        try:
            while not wait([item.results], timeout=_POLL_S).done:
                if cancelled():
                    raise CallerGone
                self.check()
                if self._clock() > end and not item.begun and self._queue.leave(item):
                    raise NotReady(_BUSY)
            return item.results.result()
        finally:
            self._queue.leave(item)
            del item  # an error holds this frame, and must not hold itself through it

    def check(self) -> None:
        """Raises NotReady when a batch takes longer than the deadline, or the thread has ended."""
        seconds = self.stuck_seconds
        if seconds is not None:
            raise NotReady(
                f"The current batch has run for {seconds:.0f} s (MODEL_DEADLINE is "
                f"{self._deadline_s:.0f}): restart the service."
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
        timeout_s: float | None = self._idle_seconds
        while True:
            batch = self._queue.take(timeout_s)
            # A batch that never ends is stuck, and so is freeing memory that never ends.
            self._running_since = self._clock()
            if batch:
                with entered(together(item.context for item in batch)):
                    self._run_batch(batch)
            else:
                self._idle()
            self._running_since = None
            # After an idle call, the next one comes only after another batch.
            timeout_s = self._idle_seconds if batch else None
            del batch  # what it holds goes now, not with the next one

    def _idle(self) -> None:
        try:
            self._when_idle()
        except Exception:
            logger.exception("Memory could not be freed; the models go on")

    def _run_batch(self, batch: list[AnyWorkItem]) -> None:
        requests = [one for item in batch for one in item.requests]
        try:
            with metrics.AT_THE_MODELS.track_inprogress():
                results = batch[0].models.run(requests)
        except BaseException as error:  # noqa: BLE001 - raised where the results are waited for
            self._running_since = None
            self._fail(batch, error)
            # The error holds this frame: with its future in it, it would hold itself.
            del batch, requests
        else:
            self._running_since = None
            for item in batch:
                item.results.set_result(results[: len(item.requests)])
                results = results[len(item.requests) :]

    def _fail(self, batch: list[AnyWorkItem], error: BaseException) -> None:
        if len(batch) == 1:
            batch[0].results.set_exception(error)
            return
        # Whose request it was is not known: it must not take the others' with it.
        logger.warning(
            "A batch of %d callers failed: the service runs each caller's requests alone",
            len(batch),
        )
        self._queue.put_back(batch)
