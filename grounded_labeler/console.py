"""What commands say while they run: plain lines, whatever is in them."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Clock = Callable[[], float]  # seconds


@contextmanager
def timed(what: str, clock: Clock = time.monotonic) -> Iterator[None]:
    """Say `what` is being done, and once it is, how many seconds it took."""
    sys.stdout.write(f"{what} ... ")
    sys.stdout.flush()
    start = clock()
    try:
        yield
    except BaseException:
        tell("")
        raise
    tell(f"{clock() - start:.0f} s")


def tell(line: str) -> None:
    """Write a line to standard output as it is, now."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
