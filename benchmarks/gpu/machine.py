"""How fast the device multiplies and copies, and by which versions."""

import torch

from benchmarks import machine
from benchmarks.gpu.measuring import Notes, milliseconds
from benchmarks.gpu.sides import Sides

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_COPIED = {"cuda": 2**30, "cpu": 2**24}  # bytes, many times a GPU's cache
_SIDE = {"cuda": 8192, "cpu": 512}
_REPEATS = 5


def measure_machine(sides: Sides, notes: Notes) -> None:
    """Note facts of the device, its matrix products and its copies."""
    device = sides.device
    for name, value in _facts(device).items():
        notes.record("PyTorch", {"fact": name, "value": str(value)})
    for dtype in _DTYPES:
        speed = machine.matmul_gflops(dtype, device, _SIDE[device]) / 1000
        name = str(dtype).removeprefix("torch.")
        side = _SIDE[device]
        notes.record(
            "Limits", {"what": f"product of {side}x{side} matrices, {name}", "TFLOP/s": speed}
        )
    for name, count, seconds in _copies(device):
        notes.record("Limits", {"what": name, "GB/s": count / seconds / 1e9})


def _facts(device: str) -> dict[str, object]:
    facts: dict[str, object] = {
        "CPU": machine.cpu_name(),
        "torch threads": torch.get_num_threads(),
        **machine.versions(),
    }
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        facts |= {
            "card": card.name,
            "GiB": round(card.total_memory / 2**30, 1),
            "multiprocessors": card.multi_processor_count,
            "CUDA of PyTorch": torch.version.cuda,
            "TF32 in products": torch.backends.cuda.matmul.allow_tf32,
            "TF32 in convolutions": torch.backends.cudnn.allow_tf32,
        }
    return facts


def _copies(device: str) -> list[tuple[str, int, float]]:
    """What is copied, the bytes that are read and written, and the seconds it takes."""
    nbytes = _COPIED[device]
    source = torch.ones(nbytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found = [("copy within the device's memory", 2 * nbytes, _least(device, target, source))]
    if device == "cuda":
        host = torch.ones(nbytes // 8, dtype=torch.uint8)
        pinned, part = host.pin_memory(), target[: len(host)]
        found += [
            ("copy to the device, pageable memory", len(host), _least(device, part, host)),
            ("copy to the device, pinned memory", len(host), _least(device, part, pinned)),
            ("copy from the device, pageable memory", len(host), _least(device, host, part)),
        ]
    return found


def _least(device: str, target: torch.Tensor, source: torch.Tensor) -> float:
    times = [milliseconds(device, lambda: target.copy_(source)) for _ in range(_REPEATS)]
    return min(times) / 1000
