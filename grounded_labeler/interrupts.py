"""How a command ends: at Ctrl-C with one sentence, and always with the exit code it should have.

A command leaves by os._exit, not by Python's own shutdown. That shutdown ends every thread
that comes back from native code with pthread_exit; below OpenVINO and torch this unwinds C++
frames that allow no exception, and the process aborts with code 134 and "terminate called
without an active exception": https://docs.python.org/3.11/c-api/init.html#c.PyEval_RestoreThread
"""

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import NoReturn

# What a shell reports for a command that a signal ended: 130 for SIGINT, 143 for SIGTERM.
_SIGNALLED = 128
_FAILED = 1
GO_ON = "Stopped; run the same command to go on where it ended."


class _Command:
    """The command that this process runs; `stopped` is said when a signal ends it."""

    def __init__(self, stopped: str) -> None:
        self.stopped = stopped
        self.signal: int | None = None  # the first one
        self.has_work_to_finish = False

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
            if self.has_work_to_finish:
                raise KeyboardInterrupt
        self.leave(self.signal)

    def leave(self, number: int) -> NoReturn:
        _leave(_SIGNALLED + number, self.stopped)

    def on_unraisable(self, lost: "sys.UnraisableHookArgs") -> None:
        """Leave where Python dropped the interrupt, which came while an object was destroyed."""
        if self.signal is not None and issubclass(lost.exc_type, KeyboardInterrupt):
            self.leave(self.signal)
        sys.__unraisablehook__(lost)


_command: _Command | None = None


def run_command(
    module: str, stopped: str = GO_ON, before: Callable[[], None] | None = None
) -> NoReturn:
    """Import `module`, run its `main()` and end the process with the code that it returns.

    `before`, if any, is run before that.
    At SIGINT and SIGTERM the sentence `stopped` goes to standard error and the exit code is
    130 or 143: at once, while the module is imported too, or, in a block of `finishing`,
    after what the block still has to do. A second signal always ends the process at once.
    """
    command = expect_signals(stopped)
    code = _FAILED
    try:
        if before is not None:
            before()
        code = import_module(module).main() or 0
    except SystemExit as end:
        code = _code_of(end)
    except BaseException:  # noqa: BLE001 - this is where the process ends
        # Packages make errors of their own of an interrupt.
        if command.signal is None:
            traceback.print_exc()
    if command.signal is not None:
        command.leave(command.signal)
    _leave(code)


def expect_signals(stopped: str) -> _Command:
    """End this process at SIGINT and SIGTERM, from now on, as `run_command` says.

    Also where a shell had them ignored, as it does for what a script starts in the background:
    whoever sends one means it.
    """
    global _command  # noqa: PLW0603 - a process has one command, as it has one set of handlers
    _command = command = _Command(stopped)
    sys.unraisablehook = command.on_unraisable
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, command.on_signal)
    return command


@contextmanager
def finishing() -> Iterator[None]:
    """While open, the first signal raises KeyboardInterrupt in the main thread.

    For work that must clean up, or write what it has, before the command ends.
    """
    command = _command
    if command is None:
        yield
        return
    before, command.has_work_to_finish = command.has_work_to_finish, True
    try:
        yield
    finally:
        command.has_work_to_finish = before


def check() -> None:
    """Raise KeyboardInterrupt once a signal came: a package may have made another error of it."""
    if _command is not None and _command.signal is not None:
        raise KeyboardInterrupt


def leave_worker() -> NoReturn:
    """End a process of somebody else's, in the block that handles its last exception, if any.

    As multiprocessing ends its own: threads with work to finish are waited for, daemons not.
    """
    end = sys.exception()
    threading._shutdown()  # type: ignore[attr-defined]
    logging.shutdown()
    _leave(_code_of(end) if isinstance(end, SystemExit) else int(end is not None))


def _code_of(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    sys.stderr.write(f"{end.code}\n")
    return _FAILED


def _leave(code: int, sentence: str = "") -> NoReturn:
    """End the process, with all that was written and `sentence` after it."""
    for stream in (sys.stdout, sys.stderr):
        # A signal may come while it is being written to, or when nobody reads it any more.
        with suppress(OSError, RuntimeError, ValueError):
            stream.flush()
    if sentence:
        # On a terminal the line has a bar in it, or ^C.
        start = "\n" if os.isatty(2) else ""
        with suppress(OSError):
            os.write(2, f"{start}{sentence}\n".encode())
    os._exit(code)
