"""The virtual environment holds what the locks name: a package left out shows here first."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# PyTorch's build without CUDA comes without these.
CUDA = ("nvidia-", "cuda-", "triton")


def _pins(lock: str) -> list[Requirement]:
    lines = (ROOT / lock).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]


@pytest.mark.parametrize(
    "lock",
    [
        "requirements.txt",
        "requirements-dev.txt",
        "requirements-ray.txt",
        "requirements-playground.txt",
        "requirements-heic.txt",
    ],
)
def test_what_a_lock_names_is_installed(lock: str) -> None:
    without_cuda = "+cpu" in version("torch")
    missing = []
    for pin in _pins(lock):
        if pin.marker and not pin.marker.evaluate():
            continue
        if without_cuda and pin.name.startswith(CUDA):
            continue
        try:
            # "2.12.0+cpu" is the build of 2.12.0 without CUDA.
            if Version(version(pin.name)).public not in pin.specifier:
                missing.append(f"{pin}, not {version(pin.name)}")
        except PackageNotFoundError:
            missing.append(str(pin))
    assert not missing
