"""Runs the parts of a check in processes of their own, which may fail, hang or be cut off.

A part that fails ends its process: after an error on a card nothing more can be computed in
it. The parts after it go on in a new one.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.environment import ROOT
from benchmarks.gpu.results import EventReader, Part, Report

# Makes the command of a process that measures the named parts, and writes its events into the
# file, until a time in seconds since the epoch.
Command = Callable[[Sequence[str], Path, float], Sequence[str]]

LEAST_S = 10.0  # less is not enough to import torch
_POLL_S = 0.2
_GRACE_S = 20.0  # beyond the time of a part, for a measurement that takes longer than thought
_TAIL = 4000  # characters of a log in which the reason of a failure is looked for


@dataclass
class _Progress:
    """The parts that a process has begun, when, and until when, and those that it has ended."""

    begun: dict[str, float] = field(default_factory=dict)
    until: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def running(self) -> str | None:
        return next((part for part in reversed(self.begun) if part not in self.done), None)


class Supervisor:
    """Runs processes, keeps their output in logs and puts their events into the report."""

    def __init__(self, report: Report, folder: Path, changed: Callable[[], None]) -> None:
        """Write logs into `folder`, which exists; `changed` is called when the report changed."""
        self._report, self._folder, self._changed = report, folder, changed

    def run(self, name: str, parts: Sequence[str], command: Command, deadline: float) -> None:
        """Run parts of the report, in as many processes as it takes.

        Args:
            name: of the log.
            parts: names of the parts, each of which begins and ends by its own events.
            command: makes the command of a process.
            deadline: when the last process must have ended, in seconds since the epoch.
        """
        waiting = list(parts)
        while waiting and deadline - time.time() > LEAST_S:
            waiting = self._run_once(name, waiting, command, deadline)
        for part in waiting:
            self._report.part(part).reason = "there was no time for it"
        self._changed()

    def _run_once(
        self, name: str, waiting: Sequence[str], command: Command, deadline: float
    ) -> list[str]:
        """Run one process; return the parts that it left."""
        log = self._folder / f"gpu-check-{name}.log"
        events = self._folder / f"gpu-check-{name}.events"
        events.unlink(missing_ok=True)
        reader, progress = EventReader(events), _Progress()
        with log.open("ab") as output:
            logged = output.tell()
            process = subprocess.Popen(
                command(waiting, events, deadline), cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                limit = deadline
                while process.poll() is None and time.time() < limit:
                    time.sleep(_POLL_S)
                    limit = self._take(reader, progress, deadline)
                was_cut_off = process.poll() is None
            finally:
                _end(process)
        self._take(reader, progress, deadline)
        events.unlink(missing_ok=True)
        stopped = progress.running()
        if stopped is None and not progress.done:
            stopped = waiting[0]  # it would be tried for ever
        if stopped is not None:
            part = self._report.part(stopped)
            part.seconds = time.time() - progress.begun.get(stopped, time.time())
            if was_cut_off:
                part.state, part.reason = "unfinished", "its time was up"
            else:
                _tell_failure(part, process.returncode, _text(log, logged))
            progress.done.add(stopped)
        self._changed()
        return [part for part in waiting if part not in progress.done]

    def _take(self, reader: EventReader, progress: _Progress, deadline: float) -> float:
        """Put new events into the report; return when the process must have ended."""
        new = reader.read()
        for event in new:
            self._apply(event, progress)
        if new:
            self._changed()
        running = progress.running()
        return deadline if running is None else min(deadline, progress.until[running] + _GRACE_S)

    def _apply(self, event: Mapping[str, Any], progress: _Progress) -> None:
        if "begin" in event:
            progress.begun[event["begin"]] = time.time()
            progress.until[event["begin"]] = event["until"]
        elif "end" in event or "impossible" in event:
            part = self._report.part(event.get("end") or event["impossible"])
            part.seconds = time.time() - progress.begun[part.name]
            part.state = "measured" if "end" in event else "not measured"
            part.reason = event.get("why", "")
            progress.done.add(part.name)
        elif "record" in event:
            part = self._report.part(event["part"])
            part.tables.setdefault(event["table"], []).append(event["record"])
        else:
            self._report.part(event["part"]).left_out[event["left_out"]] = event["why"]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and all that it started, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
    process.wait()


def _text(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode("utf-8", "replace")


def _tell_failure(part: Part, code: int, output: str) -> None:
    """Say in `part` why its process ended, by the last line that it wrote."""
    missing = re.search(r"^ModuleNotFoundError: No module named '([\w.]+)'", output, re.M)
    if missing is not None:
        part.state, part.reason = "not measured", f"{missing[1]} is not installed"
        return
    lines = [line.strip("= \t") for line in output[-_TAIL:].splitlines()]
    last = next((line for line in reversed(lines) if line), "it wrote nothing")
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    part.state, part.reason = "failed", f"{last} ({how})"
