"""What detectors and segmenters compute with: torch, or OpenVINO where a model was exported.

Nothing here imports either until it is needed.
"""

import ctypes
import gc
import os
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol
from weakref import WeakSet

# With this package of its, OpenVINO tells Google Analytics of every import and conversion,
# unasked and from a forked process; without it, it does not.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

Precision = Literal["fp32", "bf16", "fp16"]


class Holder(Protocol):
    """Something that holds memory which it can do without until it is used again."""

    def release(self) -> None: ...


# All that live. Models are loaded on one thread, and told to let go on another.
_HOLDERS: "WeakSet[Holder]" = WeakSet()
_turn = threading.Lock()

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Compute:
    """Where and how the models of this process compute.

    `device` is "cpu" or "cuda"; `threads` is for the CPU, whoever uses it.
    """

    device: str = "cpu"
    precision: Precision = "fp32"
    threads: int = 1


@dataclass(frozen=True)
class Runtime:
    """What computes models: a package by its `name`, with so many threads on the CPU.

    `slow_because` completes a sentence that says why it is not OpenVINO alone, on a CPU.
    """

    name: str
    precision: Precision
    threads: int
    slow_because: str | None = None

    def __str__(self) -> str:
        return f"{self.name}, {self.precision}, {self.threads} CPU threads"

    @property
    def warning(self) -> str | None:
        """What to do where models take longer than they must; None where they do not."""
        if self.slow_because is None:
            return None
        return (
            "PyTorch computes on this CPU, in two to three times the time of OpenVINO: "
            f"{self.slow_because}."
        )

    def beside(self, other: "Runtime") -> "Runtime":
        """That of two models of one process."""
        if self.name == other.name:
            return self
        slow = self.slow_because or other.slow_because
        threads = max(self.threads, other.threads)
        return replace(self, name=f"{self.name}+{other.name}", threads=threads, slow_because=slow)


def pick_device() -> str:
    """Where models should run: "cuda" if a GPU can be used now, else "cpu", driver or not."""
    import torch  # noqa: PLC0415 - seconds to import

    return "cuda" if torch.cuda.is_available() else "cpu"


def visible_cores() -> int:
    """How many CPU cores the threads of this process may run on."""
    return len(os.sched_getaffinity(0))


def usable_cores(quota: Path = _CGROUP_QUOTA) -> int:
    """How many CPU cores this process may keep busy, at least 1.

    A container with a share of a large machine sees all of its cores: with a thread on
    each it would wait for its share most of the time. `quota` is the file of Linux's
    control groups that tells the share.
    """
    cores = visible_cores()
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cores, int(allowed) // int(period)))
    except (OSError, ValueError):  # no such file, or "max 100000": no limit
        return cores


def hold(holder: Holder) -> None:
    """Let `release_memory` tell `holder` to let go, as long as it lives."""
    with _turn:
        _HOLDERS.add(holder)


def release_memory() -> None:
    """Give back what was only needed while an image was looked at; the next one takes longer."""
    with _turn:
        holders = list(_HOLDERS)
    for holder in holders:
        holder.release()
    # Modules that are not used any more, in circles of references, and the files they map.
    gc.collect()
    # What glibc keeps of memory that was freed. It is safe at any time: the allocator looks for
    # whole free pages of its own under its own locks. Other C libraries have no such function.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def limit_threads(threads: int) -> None:
    """Let torch compute with so many threads on the CPU, in this whole process."""
    import torch  # noqa: PLC0415 - seconds to import

    torch.set_num_threads(threads)
