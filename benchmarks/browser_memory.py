"""What the processes of a browser hold in memory. Linux only: it reads /proc."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

LIMIT = 9 * 2**30  # bytes
_SAMPLE_S = 0.25
_PROC = Path("/proc")
_OWN = ("RssAnon", "RssShmem")  # not the program's files, which processes share


class BrowserMemory:
    """Watches, while the block runs, what the browser started below this process holds.

    `peak` is the most there was at once, in bytes. More than LIMIT, and the largest page is
    ended, before the browser takes the machine's memory from everything else.
    """

    def __init__(self, program: str) -> None:
        self.peak = 0
        self._program = program
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            held = held_by(self._program, os.getpid())
            total = sum(held.values())
            self.peak = max(self.peak, total)
            if total > LIMIT:
                with suppress(ProcessLookupError):
                    os.kill(max(held, key=lambda pid: held[pid]), signal.SIGKILL)


def held_by(program: str, root: int) -> Mapping[int, int]:
    """Bytes that each process below `root` holds, by its id, if its command names `program`."""
    return {pid: own_bytes(pid) for pid in _below(root) if program in _command(pid)}


def own_bytes(pid: int) -> int:
    """Bytes in memory that a process has for itself; 0 when it has ended."""
    lines = _read(pid, "status").splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(_OWN))


def _below(root: int) -> Iterator[int]:
    parents = {
        pid: _parent(pid)
        for pid in (int(one.name) for one in _PROC.iterdir() if one.name.isdigit())
    }
    below = {root}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
        yield from more


def _parent(pid: int) -> int | None:
    # The name before it stands in brackets and may hold anything.
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else None


def _command(pid: int) -> str:
    return _read(pid, "cmdline")


def _read(pid: int, name: str) -> str:
    try:
        return (_PROC / str(pid) / name).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
