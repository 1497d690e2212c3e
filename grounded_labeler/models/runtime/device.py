"""The device, precision and threads that models run with, and the memory of the process.

Imports torch only in the functions that need it.
"""

import ctypes
import gc
import os
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import cv2

from grounded_labeler import metrics

# "mixed" is bf16 in some layers and fp32 elsewhere: see runtime/mixed_precision.py.
Precision = Literal["fp32", "mixed", "bf16", "fp16"]

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_CPU_INFO = Path("/proc/cpuinfo")
_MEMORY = Path("/proc/self/statm")
_DEVICES = Path("/dev")
# Of NVIDIA's driver, of Windows' subsystem for Linux, and of AMD's driver for ROCm.
_GPU_DEVICES = ("nvidiactl", "nvidia[0-9]*", "dxg", "kfd")
_GPU_LIBRARY = "libcuda.so.1"  # of NVIDIA's driver: on small boards it has other devices


@dataclass(frozen=True)
class Compute:
    """Where and how the models of this process compute.

    `device` is "cpu" or "cuda"; `threads` is the number of CPU threads, for any runtime.
    `compiled` is a folder for compiled graphs whose own folder cannot be written to.
    """

    device: str = "cpu"
    precision: Precision = "fp32"
    threads: int = 1
    compiled: Path | None = None


@dataclass(frozen=True)
class Runtime:
    """The package that runs the models, its precision and its number of CPU threads.

    `slow_because` completes a sentence that says why it is not OpenVINO alone, on a CPU.
    """

    name: str
    precision: Precision
    threads: int
    slow_because: str | None = None

    def __str__(self) -> str:
        numbers = "mixed (bf16 and fp32)" if self.precision == "mixed" else self.precision
        return f"{self.name}, {numbers}, {self.threads} CPU threads"

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
        """Combine the runtimes of two models of one process."""
        if self.name == other.name:
            return self
        slow = self.slow_because or other.slow_because
        threads = max(self.threads, other.threads)
        return replace(self, name=f"{self.name}+{other.name}", threads=threads, slow_because=slow)


def pick_device() -> str:
    """Return the device to run on: "cuda" if a GPU can be used now, else "cpu".

    Where there is no trace of a GPU, torch is not imported to say so.
    """
    if not _may_have_gpu() or find_spec("torch") is None:
        return "cpu"
    import torch  # noqa: PLC0415 - seconds to import

    return "cuda" if torch.cuda.is_available() else "cpu"


def _may_have_gpu() -> bool:
    """Tell whether a driver of GPUs has left a device or its library here."""
    if any(found for pattern in _GPU_DEVICES for found in _DEVICES.glob(pattern)):
        return True
    try:
        ctypes.CDLL(_GPU_LIBRARY)
    except OSError:
        return False
    return True


def visible_cores() -> int:
    """Return how many CPU cores the threads of this process may run on."""
    return len(os.sched_getaffinity(0))


def usable_cores(quota: Path = _CGROUP_QUOTA) -> int:
    """Return how many CPU cores this process may keep busy, at least 1.

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


def cpu_flags(cpuinfo: Path = _CPU_INFO) -> str:
    """Return what this CPU says it can compute with, "" where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    told = (line for line in lines if line.startswith(("flags", "Features")))
    return next(told, "").partition(":")[2].strip()


def trim_memory() -> None:
    """Collect unused objects; return free memory to the operating system and to the GPU."""
    # Modules that are not used any more, in circles of references, and the files they map.
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None:
        torch.cuda.empty_cache()  # does nothing where no GPU is in use
    # glibc keeps freed memory. Trimming is safe at any time: the allocator gives back whole
    # free pages of its own, under its own locks. Other C libraries have no such function.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def note_gpu_memory() -> None:
    """Have the metrics say how much GPU memory this process uses; for models that are on a GPU."""
    torch = sys.modules["torch"]  # which runs them
    metrics.DEVICE_MEMORY.labels("allocated").set(torch.cuda.memory_allocated())
    metrics.DEVICE_MEMORY.labels("reserved").set(torch.cuda.memory_reserved())


def resident_bytes(statm: Path = _MEMORY) -> int:
    """Return the bytes of this process that are in RAM, 0 where the system has no such file."""
    try:
        pages = int(statm.read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGESIZE")


def limit_threads(threads: int) -> None:
    """Set how many CPU threads OpenCV uses in this whole process, and torch if it is imported.

    Graphs have their own threads; those that torch computes set its threads again.
    """
    cv2.setNumThreads(threads)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)
