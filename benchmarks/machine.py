"""What a figure was measured on, and how fast that machine multiplies matrices."""

import os
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import torch

_PACKAGES = (
    "torch", "torchvision", "transformers", "groundingdino-py", "segment-anything", "kornia",
    "openvino", "label-studio-sdk", "numpy", "pillow", "opencv-python-headless",
)  # fmt: skip
_SIDE = {"cpu": 2048, "cuda": 8192}  # long enough to keep the device busy, done in a second
_REPEATS = 7


def pin_threads(count: int) -> None:
    """Let torch and OpenCV use `count` threads each, in this process."""
    torch.set_num_threads(count)
    cv2.setNumThreads(count)


def facts(device: str = "cpu") -> dict[str, Any]:
    """All of it, ready for JSON; takes a few seconds, for the multiplications."""
    return {
        "device": device,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "OpenCV threads": cv2.getNumThreads(),
        "GFLOP/s float32": round(matmul_gflops(torch.float32, device)),
        "GFLOP/s bfloat16": round(matmul_gflops(torch.bfloat16, device)),
        "TF32": bool(torch.backends.cuda.matmul.allow_tf32) if device != "cpu" else None,
        "versions": versions(),
    }


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Python's, and those of the packages that do the work and are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def matmul_gflops(dtype: torch.dtype, device: str = "cpu", side: int | None = None) -> float:
    """Billions of operations a second in the product of two square matrices, median of several."""
    on_gpu = device.startswith("cuda")
    side = side or _SIDE["cuda" if on_gpu else "cpu"]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(_REPEATS + 1):
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        torch.mm(left, right)
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    # The first one allocates.
    return 2 * side**3 / statistics.median(seconds[1:]) / 1e9


def resident_bytes(pid: int | None = None) -> int | None:
    """What a process holds in memory now, this one by default; None where Linux's /proc is not."""
    return _status(pid, "VmRSS")


def peak_resident_bytes(pid: int | None = None) -> int | None:
    """The most it held at any time; None where Linux's /proc is not."""
    return _status(pid, "VmHWM")


def _status(pid: int | None, key: str) -> int | None:
    status = Path("/proc") / str(pid or "self") / "status"
    if not status.is_file():
        return None
    for line in status.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return None
