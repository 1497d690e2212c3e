"""How long a request for many tasks may still be worked for."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from grounded_labeler.core.time_limit import TimeLimit
from grounded_labeler.inference.backend import Cancelled

# Of the time that a batch may take before it counts as stuck; the rest is for whole images and
# masks.
TILES_SHARE = 0.5


class RequestDeadline:
    """`seconds` from now; for a typed prompt there is none, but for the wait in the queue.

    An annotator's answer is worth having late. A request for many tasks, answered after
    Label Studio has given up, is worth nothing.
    """

    def __init__(
        self, seconds: float, *, typed: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds = seconds
        self._typed = typed
        self._clock = clock
        self._end = clock() + seconds
        self._longest_lap = 0.0

    def left(self) -> float:
        """Seconds, below 0 when it is past."""
        return math.inf if self._typed else self._end - self._clock()

    def queue_timeout(self) -> float:
        """Seconds to wait at most for the models, at least a moment."""
        return max(self._end - self._clock(), 0.0)

    def tile_limit(self, model_deadline: float, cancelled: Cancelled) -> TimeLimit:
        """How long tiles may take: an annotator's answer, too, should come while it is wanted.

        `model_deadline` is how many seconds a batch may take; once `cancelled` tells that nobody
        waits any more, no more tiles are looked at.
        """
        left = self._end - self._clock()
        return TimeLimit(min(left, TILES_SHARE * model_deadline), self._clock, cancelled)

    def is_near(self) -> bool:
        """Whether there is too little time for a lap as long as the longest so far."""
        return self.left() < self._longest_lap

    @contextmanager
    def timed_batch(self) -> Iterator[None]:
        """One round of the work, timed."""
        begin = self._clock()
        try:
            yield
        finally:
            self._longest_lap = max(self._longest_lap, self._clock() - begin)
