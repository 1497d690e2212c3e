"""What this machine has: versions, devices with their drivers, memory."""

import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from grounded_labeler.__about__ import __version__
from grounded_labeler.connecting.findings import Finding, fail, ok, warn
from grounded_labeler.models.runtime.device import cpu_flags, pick_device, usable_cores
from grounded_labeler.settings import Settings
from grounded_labeler.weights.checksums import weight_bytes

# Of CUDA 13, which PyTorch's build for GPUs has in it: docs/operating.md.
_DRIVER, _CAPABILITY = 580, 7.5
_NVIDIA = (
    "nvidia-smi", "--query-gpu=name,driver_version,compute_cap,memory.total",
    "--format=csv,noheader,nounits",
)  # fmt: skip
_NVIDIA_SECONDS = 20.0
_GIB = 2**30
# The default models have 0.7 GiB of weights, and a service with them took 3.7 GiB at most.
_BESIDE_WEIGHTS, _DEMO = 3 * _GIB, 1 * _GIB
_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")

Graphics = Callable[[], str | None]


def versions() -> list[Finding]:
    """Find the versions of what computes."""
    said = [f"grounded-labeler {__version__}", f"Python {platform.python_version()}"]
    packages = {name: _version(name) for name in ("openvino", "torch", "label-studio-sdk")}
    said += [f"{name} {text}" for name, text in packages.items() if text]
    if not packages["openvino"]:
        remedy = "Install the packages again: pip install --no-deps -r requirements.txt."
        return [fail("versions", f"{', '.join(said)}; no OpenVINO", remedy)]
    return [ok("versions", ", ".join(said))]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def nvidia_smi() -> str | None:
    """What NVIDIA's driver says of the cards; None where there is no driver, or it fails."""
    try:
        ran = subprocess.run(
            _NVIDIA, capture_output=True, text=True, timeout=_NVIDIA_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout if ran.returncode == 0 else None


def devices(
    graphics: Graphics = nvidia_smi, pick: Callable[[], str] = pick_device
) -> list[Finding]:
    """Find the CPU and the cards; PyTorch is imported only where there is a card."""
    bf16 = ", with bf16" if {"amx_bf16", "avx512_bf16"} & set(cpu_flags().split()) else ""
    said = f"{platform.machine()} CPU, {usable_cores()} cores to use{bf16}"
    cards = graphics()
    if not cards:
        return [ok("devices", f"{said}; no NVIDIA card")]
    return [ok("devices", said), *_cards(cards, pick)]


def _cards(cards: str, pick: Callable[[], str]) -> Iterator[Finding]:
    usable = False
    for line in cards.strip().splitlines():
        name, driver, capability, memory = (part.strip() for part in line.split(","))
        said = f"{name}, driver {driver}, compute capability {capability}, {memory} MiB"
        if _number(driver) < _DRIVER:
            yield fail("devices", said, f"Install NVIDIA's driver {_DRIVER} or newer.")
        elif _number(capability) < _CAPABILITY:
            remedy = f"It takes {_CAPABILITY} or more: take the image for CPUs, or another card."
            yield warn("devices", said, remedy)
        else:
            usable = True
            yield ok("devices", said)
    if usable and pick() != "cuda":
        remedy = (
            "Install requirements.txt, whose PyTorch has CUDA in it, or take the image for GPUs; a "
            "container gets the card from NVIDIA's container toolkit."
        )
        yield warn("devices", "there is a card, and the models will run on the CPU", remedy)


def _number(text: str) -> float:
    """Of "580.65.06" the 580, of "7.5" all."""
    whole, _, rest = text.partition(".")
    digits = rest.partition(".")[0]
    return float(f"{whole}.{digits}") if whole.isdecimal() and digits.isdecimal() else 0.0


def memory(
    settings: Settings, meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP
) -> Sequence[Finding]:
    """Find the memory that is free, beside what the models take, about."""
    if settings.ray_address is not None:
        return [ok("memory", "the models run on the Ray cluster")]
    models = settings.offered.models(settings.model_dir)
    weights = sum(weight_bytes(model, settings.model_dir) for model in models)
    is_demo = all(model.bundled is not None for model in models)
    needed = settings.workers * ((_DEMO if is_demo else _BESIDE_WEIGHTS) + weights)
    needed += settings.cache_bytes * settings.workers
    free = _free(meminfo, cgroup)
    if free is None:
        return [ok("memory", f"about {_gib(needed)} needed; this system does not say what is free")]
    said = f"{_gib(free)} free, about {_gib(needed)} needed"
    if free < needed:
        remedy = (
            "Give the container more memory, or take smaller models, fewer WORKERS, or a smaller "
            "CACHE_BYTES; where the service runs here already, it has what it needs."
        )
        return [warn("memory", said, remedy)]
    return [ok("memory", said)]


def _free(meminfo: Path, cgroup: Path) -> int | None:
    """Bytes that this process may still take: of the machine, or of its container."""
    found = []
    try:
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except OSError:
        return None
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            used = int((cgroup / "memory.current").read_text(encoding="ascii"))
            found.append(int(limit) - used)
    except FileNotFoundError:  # no limit
        pass
    return min(found, default=None)


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
