"""How long something may still take, wherever it is done."""

import math
import time
from collections.abc import Callable


class TimeLimit:
    """`seconds` from now, infinity for no limit; none at all once `is_over` returns True.

    With `from_first_use`, `seconds` from when somebody first asks what is left: for work that
    waits for its turn until then.

    On the way to another machine, whose clock is another one, it is what is left at that time:
    `is_over` stays behind.
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        is_over: Callable[[], bool] | None = None,
        *,
        from_first_use: bool = False,
    ) -> None:
        self._clock, self._is_over = clock, is_over
        self._seconds = seconds
        self._end = None if from_first_use else clock() + seconds

    def left(self) -> float:
        """Seconds, 0 or below when it is past."""
        now = self._clock()
        if self._end is None:
            self._end = now + self._seconds
        left = self._end - now
        return min(left, 0.0) if self._is_over is not None and self._is_over() else left

    def __reduce__(self) -> tuple[type["TimeLimit"], tuple[float]]:
        return TimeLimit, (self._seconds if self._end is None else self._end - self._clock(),)


NO_LIMIT = TimeLimit(math.inf)
