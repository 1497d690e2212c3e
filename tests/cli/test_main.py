"""The command: its list, its versions, its old forms, and the wheel that carries it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from grounded_labeler.__about__ import __version__
from grounded_labeler.cli.main import SUBCOMMANDS
from grounded_labeler.cli.models import NOT_MEASURED, listed
from grounded_labeler.core.boxes import box_iou
from grounded_labeler.demo.process import HERE, ROOT, free_port, running
from grounded_labeler.demo.show import PROMPTS
from grounded_labeler.label_studio.rendering import box_of
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from tests.helpers.asking import of_type
from tests.label_studio.test_backend import true_boxes

pytestmark = pytest.mark.slow


def run(*arguments: str, module: str = "grounded_labeler") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_lists_every_command() -> None:
    ran = run("--help")
    assert ran.returncode == 0
    assert all(f"\n  {name}" in ran.stdout for name in SUBCOMMANDS)


def test_without_a_command_the_list_is_shown() -> None:
    ran = run()
    assert ran.returncode == 2
    assert "commands:" in ran.stdout


@pytest.mark.parametrize("name", sorted(SUBCOMMANDS))
def test_every_command_explains_itself_and_has_a_version(name: str) -> None:
    explained = run(name, "--help")
    assert explained.returncode == 0, explained.stderr
    assert explained.stdout.startswith(f"usage: grounded-labeler {name}")
    assert run(name, "--version").stdout == f"grounded-labeler {__version__}\n"


def test_a_wrong_command_names_the_near_one() -> None:
    ran = run("preanotate")
    assert ran.returncode == 2  # as argparse ends for a wrong option
    assert "Did you mean preannotate?" in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "large"),
    [
        ("--help", "torch numpy flask pydantic"),
        ("--version", "torch numpy flask pydantic"),
        ("healthcheck --help", "torch numpy flask pydantic"),
        ("serve --help", "torch numpy flask pydantic"),
        ("preannotate --help", "torch numpy flask pydantic"),
        ("evaluate --help", "torch numpy flask pydantic"),
        ("connect --help", "torch numpy flask pydantic"),
        ("doctor --help", "torch numpy flask pydantic"),
        ("weights --help", "torch numpy flask"),
        ("models --help", "torch numpy flask"),
        ("verify --help", "torch numpy flask"),
    ],
)
def test_what_must_be_instant_imports_nothing_large(command: str, large: str) -> None:
    code = (
        "import runpy, sys, atexit, os\n"
        f"sys.argv = ['grounded-labeler', *{command.split()!r}]\n"
        "real = os._exit\n"
        "def leave(code):\n"
        f"    large = set({large.split()!r}) & sys.modules.keys()\n"
        "    sys.stderr.write(' '.join(sorted(large)))\n"
        "    sys.stderr.flush(); real(code)\n"
        "os._exit = leave\n"
        "atexit.register(leave, 0)\n"
        "runpy.run_module('grounded_labeler', run_name='__main__')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.stdout.startswith(("usage: grounded-labeler", "grounded-labeler "))
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("grounded_labeler.weights", "weights"),
        ("grounded_labeler.prompts", "prompts"),
        ("grounded_labeler.preannotate", "preannotate"),
        ("grounded_labeler.deploy", "deploy"),
        ("grounded_labeler.probe", "healthcheck"),
        ("grounded_labeler.demo", "demo"),
        ("grounded_labeler.demo.seed", "demo seed"),
        ("grounded_labeler.demo.figures", "demo figures"),
    ],
)
def test_old_commands_work_and_name_the_new_one(module: str, command: str) -> None:
    ran = run("--help", module=module)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"usage: grounded-labeler {command}")
    assert ran.stderr == (
        f"`python -m {module}` is now `grounded-labeler {command}`; "
        "the old form works for one more release.\n"
    )


def test_models_lists_the_catalog(tmp_path: Path) -> None:
    rows = json.loads(run("models", "--json", "--model-dir", str(tmp_path)).stdout)
    assert [row["name"] for row in rows] == [*DETECTORS, *SEGMENTERS]
    assert [row["name"] for row in rows if row["is_here"]] == ["demo", "demo"]
    # Of one it is not known before its files are listed.
    assert [row["name"] for row in rows if row["size_bytes"] is None] == ["edgetam"]
    assert all((row["size_bytes"] or 10**7) > 10**6 and row["licence"] for row in rows)
    shown = run("models", "--model-dir", str(tmp_path)).stdout
    assert all(row["name"] in shown for row in rows)


def test_the_speeds_are_those_of_the_documentation(tmp_path: Path) -> None:
    stages = (ROOT / "docs" / "performance.md").read_text()

    def seconds(stage: str) -> float:
        [(value, unit)] = re.findall(rf"^\| {stage} \| ([\d.]+) (m?s) \|", stages, re.M)
        return float(value) / (1000 if unit == "ms" else 1)

    def beside(name: str) -> float:
        """What a segmenter's encoder and decoder take together."""
        [cells] = re.findall(rf"^\| {name} \| ([\d.]+) s \| ([\d.]+) s \|", stages, re.M)
        return sum(map(float, cells))

    whole = r"^\| a prompt in all \| ([\d.]+) s \| ([\d.]+) s \|"
    [(llmdet, grounding_dino)] = re.findall(whole, stages, re.M)
    speeds = {row.name: row.speed for row in listed(tmp_path) if row.speed != NOT_MEASURED}
    assert speeds == {
        "groundingdino-swint-ogc": f"{seconds('detect'):.1f} s",
        "mobile-sam": f"{seconds('segment-encode') + seconds('segment-decode'):.1f} s",
        "grounding-dino-tiny": f"{grounding_dino} s",
        "llmdet-tiny": f"{llmdet} s",
        **{name: f"{beside(name):.1f} s" for name in ("sam-vit-b", "sam2.1-tiny", "edgetam")},
    }


def test_the_image_runs_the_command() -> None:
    image = (ROOT / "Dockerfile").read_text()
    assert 'CMD ["grounded-labeler", "serve"]' in image
    assert 'CMD ["grounded-labeler", "healthcheck"]' in image


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "grounded_labeler.__about__.__version__"
    }
    for extra, wanted in project["project"]["optional-dependencies"].items():
        lines = (ROOT / f"requirements-{extra}.in").read_text().splitlines()
        assert wanted == [line for line in lines if not line.startswith(("#", "-c "))]
    image = re.findall(r'image.version="([^"]+)"', (ROOT / "Dockerfile").read_text())
    assert image == [__version__]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel in it, built and installed without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = folder / "source"  # setuptools leaves what it made where it builds
    source.mkdir()
    shutil.copytree(ROOT / "grounded_labeler", source / "grounded_labeler")
    parts = ("requirements-cpu.in", "requirements-torch.in")
    for name in ("pyproject.toml", "README.md", "LICENSE", *parts):
        shutil.copy(ROOT / name, source)
    build = [*pip, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", folder, source]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    [wheel] = folder.glob("*.whl")
    assert f"-{__version__}-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    [metadata] = (name for name in names if name.endswith(".dist-info/METADATA"))
    needed = zipfile.ZipFile(wheel).read(metadata).decode()
    assert all(f"Requires-Dist: {name}" in needed for name in ("openvino", "torch"))
    assert "grounded_labeler/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "e2e", "benchmarks"))]
    install = [*pip, "install", "--no-index", "--no-deps", "--target", folder / "site", wheel]
    put = subprocess.run(install, capture_output=True, text=True, check=False)
    assert put.returncode == 0, put.stderr
    return folder / "site"


def test_the_wheel_has_the_command_and_the_service(installed: Path, tmp_path: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(installed), "DETECTOR": "demo", "SEGMENTER": "demo"}
    command = installed / "bin" / "grounded-labeler"
    listing = subprocess.run(
        [command, "models", "--json"], cwd=tmp_path, env=environ, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert [row["name"] for row in json.loads(listing.stdout) if row["is_here"]] == ["demo", "demo"]
    said = subprocess.run(
        [command, "--version"], cwd=tmp_path, env=environ, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert said.stdout == f"grounded-labeler {__version__}\n"
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", tmp_path / "log"

    def is_ready() -> bool:
        try:
            return HERE.get(f"{url}/ready", timeout=5).ok
        except OSError:
            return False

    serve: list[str | Path] = [command, "serve", "--chdir", tmp_path]
    environ |= {"PORT": str(port), "DATA_DIR": str(tmp_path), "PYTHONSAFEPATH": "1"}
    with running(serve, environ, log, is_ready):
        assert HERE.get(f"{url}/health", timeout=5).json()["version"] == __version__
        figures = HERE.get(f"{url}/metrics", timeout=5).text
    [build] = re.findall(r"^grounded_labeler_build_info{(.*)} 1.0$", figures, re.M)
    assert f'version="{__version__}"' in build
    assert 'models="demo+demo"' in build
    assert 'device="' in build
    lines = [line for line in log.read_text().splitlines() if "grounded_labeler" in line]
    assert f": grounded-labeler {__version__}: models demo+demo, device " in lines[0]


def test_the_wheel_shows_the_demo_in_an_empty_folder_and_leaves_nothing_running(
    installed: Path, tmp_path: Path, truth: dict[str, Any]
) -> None:
    environ = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    command, port = installed / "bin" / "grounded-labeler", free_port()
    ran = subprocess.run(
        [command, "demo", "--port", str(port)],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Service on" in ran.stdout
    made = tmp_path / "demo-output"
    assert made.name in ran.stdout
    assert (made / "service.log").is_file()
    for name in PROMPTS:
        assert (made / name).with_suffix(".png").stat().st_size > 10_000
    answer = json.loads((made / "wide.json").read_text())
    boxes = of_type(answer["result"], "rectanglelabels")
    assert len(boxes) == 3
    for name in ("blue star", "blue ring", "red circle"):
        ious = [box_iou(box_of(box)[None], true_boxes(truth, "wide.jpg", name)) for box in boxes]
        assert max(float(iou.max()) for iou in ious) >= 0.8, name
    assert not list(installed.glob("demo-output"))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
