"""What commands say while they run: plain lines, whatever is in them."""

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

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


def open_console(width: int) -> "Console":
    """A console on standard output, of `width` characters where nobody watches.

    What a terminal of few characters does not know is escaped.
    """
    from rich.console import Console  # noqa: PLC0415 - `--help` must not wait for it

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    columns = None if sys.stdout.isatty() else width
    return Console(markup=False, highlight=False, width=columns)


def tell(line: str) -> None:
    """Write a line to standard output as it is, now."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
