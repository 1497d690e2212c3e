"""What requirements-cpu.txt holds is all that a service on a CPU needs where graphs exist.

The programs run by a Python that has these packages alone, which `make test` installs.
"""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from grounded_labeler.core.boxes import box_iou
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.demo.process import HERE, ROOT, free_port, running
from grounded_labeler.label_studio.rendering import box_of, label_of, mask_of
from grounded_labeler.settings import variable_names
from tests.conftest import SAMPLES
from tests.helpers.asking import body, of_type, typed
from tests.helpers.truth import true_masks

PYTHON = ROOT / ".venv-cpu" / "bin" / "python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.is_file(), reason="`make .venv-cpu/.installed` makes the environment"
    ),
]

LEFT_OUT = (
    "torch", "torchvision", "transformers", "groundingdino", "segment_anything", "timm", "kornia",
    "safetensors", "sympy", "triton", "addict", "yapf",
)  # fmt: skip


def environ(**given: str) -> dict[str, str]:
    """This process's environment with the demo models and `given` for settings."""
    ours = {name for names in variable_names().values() for name in names}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"DETECTOR": "demo", "SEGMENTER": "demo", "CPU_THREADS": "2", **given}


def run(*arguments: str | Path, **given: str) -> subprocess.CompletedProcess[str]:
    """Run `grounded-labeler` with `arguments`."""
    return subprocess.run(
        [PYTHON, "-m", "grounded_labeler", *arguments],
        cwd=ROOT, env=environ(**given), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def test_nothing_of_pytorch_is_installed() -> None:
    code = f"from importlib.util import find_spec; print([n for n in {LEFT_OUT} if find_spec(n)])"
    found = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def url(exported_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that is ready."""
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    address = f"http://127.0.0.1:{port}"
    settings = environ(MODEL_DIR=str(exported_demo), DATA_DIR=str(folder), OUTPUT="both")
    bind = ("serve", "--bind", f"127.0.0.1:{port}")
    serve: list[str | Path] = [PYTHON, "-m", "grounded_labeler", *bind]

    def is_ready() -> bool:
        health = run("healthcheck", PORT=str(port), DATA_DIR=str(folder))
        return health.returncode == 0

    with running(serve, settings, folder / "log", is_ready):
        yield address


def test_a_service_finds_boxes_and_masks(url: str) -> None:
    health = HERE.get(f"{url}/health", timeout=60).json()
    assert (health["runtime"], health["device"]) == ("OpenVINO", "cpu")
    image = base64.b64encode((SAMPLES / "wide.jpg").read_bytes()).decode()
    request = body([f"data:image/jpeg;base64,{image}"], typed("red circle"))
    answer = HERE.post(f"{url}/predict", json=request, timeout=300)
    assert answer.status_code == 200, answer.text
    [prediction] = answer.json()["results"]
    [box] = of_type(prediction["result"], "rectanglelabels")
    [mask] = of_type(prediction["result"], "brushlabels")
    assert (label_of(box), label_of(mask)) == ("Circle", "Circle")
    truth = json.loads((SAMPLES / "truth.json").read_text())
    assert mask_iou(mask_of(mask), true_masks(truth)["red circle"]) > 0.9
    [drawn] = [one["box"] for one in truth["wide.jpg"]["shapes"] if one["name"] == "red circle"]
    assert box_iou(box_of(box)[None], np.array([drawn], np.float32))[0, 0] > 0.9


def test_commands_label_and_measure(exported_demo: Path, tmp_path: Path) -> None:
    """Each command begins with what the one before it left."""
    models, example = str(exported_demo), tmp_path / "example"
    labels = "Square,Star"
    commands: dict[str, tuple[str | Path, ...]] = {
        "demo: graphs were here": ("weights",),
        "red circle": ("label", SAMPLES / "wide.jpg", "red circle"),
        "4 images and truth.json": ("demo", "example", "--images", "4", example),
        "4 tasks, 0 failed": (
            "preannotate", "--images", example / "images", "--labels", labels,
            "--out", tmp_path / "run",
        ),
        "as yolo": ("export", "--run", tmp_path / "run", "--format", "yolo",
                    "--out", tmp_path / "yolo"),
        "Written to": (
            "evaluate", "--images", example / "images", "--truth", example / "truth.json",
            "--labels", labels, "--out", tmp_path / "report",
        ),
    }  # fmt: skip
    for said, command in commands.items():
        done = run(*command, MODEL_DIR=models, DATA_DIR=str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert said in done.stdout, command


def test_the_demo_runs_on_graphs(exported_demo: Path, tmp_path: Path) -> None:
    demo = ("demo", "--port", str(free_port()), "--out", tmp_path)
    done = run(*demo, MODEL_DIR=str(exported_demo))
    assert done.returncode == 0, done.stderr
    assert "on cpu" in done.stdout
    assert (tmp_path / "wide.png").is_file()


@pytest.mark.parametrize(
    "command", [("weights",), ("label", SAMPLES / "wide.jpg", "star")], ids=["weights", "label"]
)
def test_without_graphs_one_sentence_says_who_makes_them(
    command: tuple[str | Path, ...], tmp_path: Path
) -> None:
    done = run(*command, MODEL_DIR=str(tmp_path))
    assert done.returncode == 1
    [graphs, wants] = done.stderr.split(", and ")
    assert graphs.startswith(f"There are no graphs for OpenVINO in {tmp_path}")
    assert wants == (
        "PyTorch, which makes them, is not installed here: run `make weights` with the same "
        "MODEL_DIR where requirements.txt is installed.\n"
    )


def test_without_the_packages_for_traces_a_service_that_is_to_send_them_does_not_start(
    exported_demo: Path, tmp_path: Path
) -> None:
    collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = run("serve", MODEL_DIR=str(exported_demo), DATA_DIR=str(tmp_path), **collector)
    assert done.returncode == 1
    assert done.stderr.startswith("Traces are switched on, and the packages that send them are ")
    assert len(done.stderr.splitlines()) == 1
