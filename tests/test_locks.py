"""The virtual environment holds what the locks name: a package left out shows here first."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# PyTorch's build without CUDA comes without these.
CUDA = ("nvidia-", "cuda-", "triton")


# What the package needs, in two parts: where graphs exist, and what makes them.
PARTS = ("requirements-cpu.in", "requirements-torch.in")


def _pins(lock: str) -> list[Requirement]:
    lines = (ROOT / lock).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]


def _wanted(file: str) -> list[str]:
    """The lines of a requirements*.in, without their comments."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return [line for line in lines if line]


def test_no_package_is_asked_for_twice_and_the_package_asks_for_all() -> None:
    names = [canonicalize_name(Requirement(line).name) for file in PARTS for line in _wanted(file)]
    assert len(names) == len(set(names)) > 30
    assert _wanted("requirements.in") == [f"-r {file}" for file in PARTS]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": list(PARTS)}


def test_the_lock_for_cpus_is_the_full_one_without_what_makes_graphs() -> None:
    full = {pin.name: pin.specifier for pin in _pins("requirements.txt")}
    for_cpus = {pin.name: pin.specifier for pin in _pins("requirements-cpu.txt")}
    assert for_cpus == {name: full[name] for name in for_cpus}
    wanted = {canonicalize_name(Requirement(line).name) for line in _wanted(PARTS[0])}
    assert wanted <= for_cpus.keys()
    for_graphs = {canonicalize_name(Requirement(line).name) for line in _wanted(PARTS[1])}
    # tokenizers itself depends on it.
    assert for_graphs & for_cpus.keys() == {"huggingface-hub"}
    assert not [name for name in for_cpus if name.startswith(CUDA)]


@pytest.mark.parametrize(
    "lock",
    [
        "requirements.txt",
        "requirements-dev.txt",
        "requirements-ray.txt",
        "requirements-playground.txt",
        "requirements-heic.txt",
        "requirements-otel.txt",
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
