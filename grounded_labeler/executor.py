"""The one thread that runs the models, and the bounded queue in front of it."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from grounded_labeler import metrics
from grounded_labeler.errors import CallerGone, NotReady

Answer = TypeVar("Answer")
IsGone = Callable[[], bool]

_LOOK_SECONDS = 0.25  # between two looks at whether the caller is still there
# Longer than an annotator takes from one prompt to the next.
_IDLE_SECONDS = 60.0


def always_there() -> bool:
    """For callers that cannot go away, or of whom it is not known."""
    return False


class Executor:
    """Runs pieces of work one after the other, first come first served; threads share it.

    Two at once on the same cores or GPU would take as long together and twice the
    memory. `places` is how many requests may wait or be worked for at once.
    `deadline` is how many seconds one piece of work may take before it counts as stuck.
    """

    def __init__(
        self,
        places: int,
        deadline: float,
        when_idle: Callable[[], None] = lambda: None,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        """`when_idle` is called, on the thread, once nothing came for `idle_seconds`."""
        self._places = threading.BoundedSemaphore(places)
        self._deadline = deadline
        self._when_idle, self._idle_seconds = when_idle, idle_seconds
        self._running_since: float | None = None
        self._waiting: SimpleQueue[_Piece] = SimpleQueue()
        # Not a ThreadPoolExecutor: the process could not end while its thread is stuck.
        threading.Thread(target=self._work, name="models", daemon=True).start()

    @property
    def stuck_seconds(self) -> float | None:
        """How long the work that is stuck has taken by now; None when none is stuck."""
        since = self._running_since
        taken = 0.0 if since is None else time.monotonic() - since
        return taken if taken > self._deadline else None

    @property
    def waiting(self) -> int:
        """How many pieces of work have not begun."""
        return self._waiting.qsize()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Held while a request is answered; raises NotReady at once when there is none."""
        self.refuse_if_stuck()
        if not self._places.acquire(blocking=False):
            raise NotReady("Too many requests are being answered: try again in a moment.")
        try:
            yield
        finally:
            self._places.release()

    def run(
        self,
        work: Callable[[], Answer],
        is_gone: IsGone = always_there,
        patience: float = math.inf,
    ) -> Answer:
        """What `work` returns, or raises, once its turn has come.

        Raises CallerGone when `is_gone` before that: work whose turn has not come is not
        begun then. Raises NotReady when its turn has not come after `patience` seconds,
        when the work is stuck, or waits behind what is.
        """
        if is_gone():
            raise CallerGone
        end = time.monotonic() + patience
        piece = _Piece(work)
        del work  # what it holds, pictures mostly, goes with the piece
        self._waiting.put(piece)
        try:
            while not wait([piece.future], timeout=_LOOK_SECONDS).done:
                if is_gone():
                    raise CallerGone
                self.refuse_if_stuck()
                if time.monotonic() > end and piece.leave():
                    raise NotReady("The models are busy with what came before: try again.")
            return cast(Answer, piece.future.result())
        finally:
            piece.leave()
            del piece  # an error holds this frame, and must not hold itself through it

    def refuse_if_stuck(self) -> None:
        """Raises NotReady when work has been going on for longer than the deadline."""
        seconds = self.stuck_seconds
        if seconds is not None:
            raise NotReady(
                f"The models have been at one batch for {seconds:.0f} s: restart the service."
            )

    def _work(self) -> None:
        patience: float | None = self._idle_seconds
        while True:
            try:
                piece = self._waiting.get(timeout=patience)
            except Empty:
                self._when_idle()
                patience = None  # once is enough until something comes
                continue
            self._do(piece)
            del piece  # what it holds goes now, not with the next one
            patience = self._idle_seconds

    def _do(self, piece: "_Piece") -> None:
        future, work = piece.future, piece.begin()
        del piece
        if work is None:
            return
        self._running_since = time.monotonic()
        with metrics.AT_THE_MODELS.track_inprogress():
            try:
                answer = work()
            except BaseException as error:  # noqa: BLE001 - raised where the answer is waited for
                self._running_since = None
                future.set_exception(error)
                # The error holds this frame: with the future in it, it would hold itself.
                del future, work
            else:
                self._running_since = None
                future.set_result(answer)


class _Piece:
    """Work in the queue; whoever leaves takes the work away and leaves an empty piece there."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.future: Future[Any] = Future()
        self._work: Callable[[], Any] | None = work

    def begin(self) -> Callable[[], Any] | None:
        """The work, once; None when nobody waits for it any more."""
        begun = self.future.set_running_or_notify_cancel()
        work, self._work = self._work, None
        return work if begun else None

    def leave(self) -> bool:
        """Wait for it no more; whether it had not begun, and never will."""
        left = self.future.cancel()
        if left:
            self._work = None
        return left
