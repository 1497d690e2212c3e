"""One image of the demo models, built from a clean clone, for all tests."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from container.engine import BUILD_PATIENCE_S, Compose, docker, why_no_engine
from grounded_labeler.demo.process import ROOT

# The images are built; no weights are fetched: these lie in the package.
DEMO = {
    "COMPOSE_FILE": "docker-compose.yml:docker-compose.build.yml",
    "COMPOSE_PATH_SEPARATOR": ":",
    "IMAGE": "grounded-labeler",
    "TAG": "test",
    "WEIGHTS": "none",
    "DETECTOR": "demo",
    "SEGMENTER": "demo",
    "EXTRAS": "ray",
}
# What compose builds, with Ray, and one for CPUs without it.
IMAGE, CPU_IMAGE = "grounded-labeler:test-cpu", "grounded-labeler:test-plain"
# Where PyTorch's own index cannot be reached: DEVICE=cuda, from the usual one.
DEVICE = os.environ.get("DEVICE", "cpu")


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last commit and nothing else, as a newcomer has it."""
    missing = why_no_engine()
    if missing:
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("clone") / "grounded-labeler"
    subprocess.run(
        ["git", "clone", "--quiet", "--no-hardlinks", ROOT, folder], check=True, timeout=120
    )
    return folder


@pytest.fixture(scope="session")
def compose(clone: Path) -> Iterator[Compose]:
    """The compose files, their image built; everything is removed afterwards but the image."""
    made = Compose(clone, {**DEMO, "DEVICE": DEVICE, "PORT": "19090"})
    made.down()
    made.run("build", "labeler", patience=BUILD_PATIENCE_S)
    yield made
    made.down()
    shutil.rmtree(clone, ignore_errors=True)


@pytest.fixture(scope="module")
def service(compose: Compose) -> Iterator[Compose]:
    """The default service, healthy."""
    compose.up()
    yield compose
    compose.down()


@pytest.fixture(scope="session")
def cpu_image(compose: Compose) -> Iterator[str]:
    """The image for CPUs, without extras."""
    with built(compose, CPU_IMAGE):
        yield CPU_IMAGE


@contextmanager
def built(compose: Compose, tag: str, *options: str) -> Iterator[None]:
    """Build an image of the demo models for CPUs; removed afterwards.

    Where PyTorch's index for CPUs is out of reach (DEVICE=cuda), the packages of the image above
    make the graphs.
    """
    ready = () if DEVICE == "cpu" else (f"--build-context=all-packages=docker-image://{IMAGE}",)
    arguments = ("DEVICE=cpu", "WEIGHTS=none", "DETECTOR=demo", "SEGMENTER=demo")
    docker(
        "build", "--tag", tag, *ready, *options,
        *(word for one in arguments for word in ("--build-arg", one)), str(compose.folder),
        patience=BUILD_PATIENCE_S,
    )  # fmt: skip
    try:
        yield
    finally:
        docker("rmi", "--force", tag)
