"""What the documentation promises: the demo, the curl call, clear refusals, the card's figures."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from grounded_labeler.core.tiling import Tiling
from grounded_labeler.demo.evaluate import (
    CLICKED_IOU,
    CORRECTED_IOU,
    UNSEEN_SEED,
    demo_thresholds,
    measure,
    measure_clicks,
    measure_left_out,
)
from grounded_labeler.demo.process import ROOT, answers, free_port, run_service
from grounded_labeler.demo.small_things import measure_small_things
from grounded_labeler.models.pipeline import Pipeline
from tests.conftest import SAMPLES
from tests.helpers.parallel import threads

pytestmark = pytest.mark.slow


@pytest.fixture
def port() -> int:
    return free_port()


def run(*command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", **threads(), **environ},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_a_busy_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        ran = run("-m", "grounded_labeler", "demo", "--port", port, "--out", tmp_path)
    assert ran.returncode != 0
    assert f"Port {port} is in use" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_documented_curl_call(tmp_path: Path, port: int) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    [call] = re.findall(
        r"```bash\n(curl .*?)```", (ROOT / "docs" / "http-api.md").read_text(), re.S
    )
    with run_service(port, tmp_path / "log") as url:
        command = call.replace("http://localhost:9090", url)
        answer = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
        )
    [prediction] = json.loads(answer.stdout)["results"]
    [box] = prediction["result"]
    assert box["value"]["rectanglelabels"] == ["Circle"]


def test_serving_without_weights_says_what_to_do(tmp_path: Path) -> None:
    serve = ["-m", "gunicorn", "--config", "gunicorn.conf.py", "_wsgi:app"]
    ran = run(*serve, MODEL_DIR=str(tmp_path), PORT="9")
    assert ran.returncode != 0
    assert "make weights" in ran.stderr
    assert "make demo" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_bad_setting_stops_the_server_with_one_line(tmp_path: Path) -> None:
    serve = ["-m", "gunicorn", "--config", "gunicorn.conf.py", "_wsgi:app"]
    ran = run(*serve, DETECTOR="demo", BOX_THRESHOLD="high")
    assert ran.returncode != 0
    assert ran.stderr.startswith("Cannot start: BOX_THRESHOLD=high")
    assert "Traceback" not in ran.stderr


def test_the_demo_models_are_as_right_as_their_card_says(demo_pipeline: Pipeline) -> None:
    """A smaller run of `make figures`, with the same bounds, on images of yet other seeds."""
    figures = measure(demo_pipeline, images=60, seed=UNSEEN_SEED + 5_000)
    assert figures.precision >= 0.95, figures
    assert figures.recall >= 0.95, figures
    assert figures.mask_iou >= 0.90, figures


def test_tiles_find_small_things_in_a_large_image(demo_pipeline: Pipeline) -> None:
    """What `make figures` says of 4000x3000, on an image of another seed."""
    small = partial(
        measure_small_things, demo_pipeline, demo_thresholds(), images=1, seed=UNSEEN_SEED + 5_000
    )
    assert small(tiling=None).recall <= 0.1
    figures = small(tiling=Tiling(200))
    assert figures.recall >= 0.9, figures
    assert figures.precision >= 0.95, figures


def test_tiles_lose_nothing_in_ordinary_images(demo_pipeline: Pipeline) -> None:
    images, seed = 24, UNSEEN_SEED + 5_000
    whole = measure(demo_pipeline, images, seed)
    tiled = measure(demo_pipeline, images, seed, Tiling())
    assert tiled.recall >= whole.recall
    assert tiled.precision >= whole.precision - 0.01
    assert tiled.mask_iou >= whole.mask_iou - 0.01


def test_a_minus_sign_leaves_out_what_only_a_narrower_phrase_names(
    demo_pipeline: Pipeline,
) -> None:
    assert measure_left_out(demo_pipeline, images=30, seed=UNSEEN_SEED + 5_000) >= 0.9


def test_the_bundled_weights_stay_small() -> None:
    weights = SAMPLES.parent / "weights"
    assert sum(file.stat().st_size for file in weights.rglob("*")) <= 12_000_000


def test_it_stops_at_ctrl_c_with_its_service(tmp_path: Path, port: int) -> None:
    command = [sys.executable, "-m", "grounded_labeler", "demo", "--port", str(port)]
    with subprocess.Popen(
        [*command, "--out", tmp_path], cwd=ROOT, text=True, env=os.environ | {"TERM": "dumb"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline().startswith("Service on ")
        process.send_signal(signal.SIGINT)
        _, complained = process.communicate(timeout=60)
    assert (process.returncode, complained) == (130, "Stopped; nothing is left running.\n")
    assert not answers(f"http://127.0.0.1:{port}/health")
    assert "Shutting down" in (tmp_path / "service.log").read_text()


def test_clicks_are_as_right_as_the_card_says(demo_pipeline: Pipeline) -> None:
    clicks = measure_clicks(demo_pipeline, shapes=24)
    assert np.mean(clicks.one_click >= CLICKED_IOU) >= 0.95
    assert np.mean(clicks.corrected >= CORRECTED_IOU) >= 0.9
    assert (clicks.corrected >= clicks.one_click).all()
