"""How long something may still take, wherever it is done."""

import math
import time
from collections.abc import Callable


class TimeLimit:
    """`seconds` from now, infinity for no limit.

    On the way to another machine, whose clock is another one, it is what is left at that time.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Seconds, below 0 when it is past."""
        return self._end - self._clock()

    def __reduce__(self) -> tuple[type["TimeLimit"], tuple[float]]:
        return TimeLimit, (self.left(),)


NO_LIMIT = TimeLimit(math.inf)
