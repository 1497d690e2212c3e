"""Time that is left, figures that are noted, and calls that are timed in turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu.results import EventWriter, Record

NO_TIME = "there was no time for it"
_MS = 1000.0


class Budget:
    """The time that a part has."""

    def __init__(self, until: float) -> None:
        """It ends at `until`, in seconds since the epoch."""
        self._until = until

    def has(self, seconds: float = 0.0) -> bool:
        """Tell whether something that takes so long still ends in time."""
        return time.time() + seconds < self._until


class Notes:
    """Where a part writes its figures, and how much time it has."""

    def __init__(self, part: str, writer: EventWriter, budget: Budget) -> None:
        self.part, self._writer, self.budget = part, writer, budget

    def record(self, table: str, record: Record) -> None:
        """Add a row to the table of that title."""
        self._writer.record(self.part, table, record)

    def left_out(self, what: str, why: str = NO_TIME) -> None:
        """Say what is not measured, and why."""
        self._writer.left_out(self.part, what, why)

    def has_time_for(self, what: str, seconds: float = 0.0) -> bool:
        """Tell whether there is time for what takes so long; if not, say that it is left out."""
        if self.budget.has(seconds):
            return True
        self.left_out(what)
        return False


def synchronize(device: str) -> None:
    """Wait until a GPU has done what it was given; on a CPU it is done already."""
    if device == "cuda":
        torch.cuda.synchronize()


def milliseconds(device: str, call: Callable[[], object]) -> float:
    """Run `call` once, from nothing waiting to nothing left to do.

    On a GPU by its own clock, from an event before the first kernel to one after the last.
    """
    synchronize(device)
    if device != "cuda":
        start = time.perf_counter()
        call()
        return (time.perf_counter() - start) * _MS
    event: Any = torch.cuda.Event  # has no types
    before, after = (event(enable_timing=True) for _ in range(2))
    before.record()
    call()
    after.record()
    after.synchronize()
    return float(before.elapsed_time(after))


def wall_milliseconds(device: str, call: Callable[[], object]) -> float:
    """Run `call` once, by the clock of whoever waits for it."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return (time.perf_counter() - start) * _MS


@dataclass(frozen=True)
class Figure:
    """The median of what a call returned in some rounds.

    `rounds` is 0 where there was time for the first call only, which chooses kernels and
    allocates.
    """

    value: float
    rounds: int


def in_turns(
    calls: Mapping[str, Callable[[], float]], rounds: int, budget: Budget
) -> dict[str, Figure]:
    """Call each once to warm it up, then each once a round.

    What slows the machine down slows all of them. No call begins that would not end in time,
    as far as its first one tells: one that had no time at all is not in what is returned.
    """
    first: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for name, call in calls.items():
        if budget.has():
            start = time.time()
            first[name] = call()
            seconds[name] = time.time() - start
    found: dict[str, list[float]] = {name: [] for name in first}
    for _ in range(rounds):
        for name, values in found.items():
            if budget.has(seconds[name]):
                values.append(calls[name]())
    return {
        name: Figure(statistics.median(values or [first[name]]), len(values))
        for name, values in found.items()
    }


def reset_peak(device: str) -> None:
    """Measure the GPU's memory from here on."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_mib(device: str) -> float | None:
    """Return the most that PyTorch's tensors took since `reset_peak`, in MiB; None on a CPU."""
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
