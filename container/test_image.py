"""The image as plain `docker run` runs it, in the places people put it."""

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from container.asking import asking
from container.conftest import DEVICE, IMAGE, built
from container.engine import Compose, ComposeError, docker
from grounded_labeler.demo.process import ROOT

MAKER_IMAGE = "grounded-labeler:test-maker"
CPU_BYTES = 1_500_000_000


@contextmanager
def running(*options: str, image: str = IMAGE) -> Iterator[str]:
    """A healthy container's name; removed afterwards."""
    name = f"grounded-labeler-{uuid.uuid4().hex[:8]}"
    docker("run", "--detach", "--name", name, *options, image)
    try:
        wait = (
            "for _ in $(seq 100); do grounded-labeler healthcheck && exit 0; sleep 1; done; exit 1"
        )
        docker("exec", name, "sh", "-c", wait)
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="as it is"),
        pytest.param(("--read-only", "--cap-drop=ALL"), id="read-only"),
        pytest.param(("--user=12345",), id="another user"),
        pytest.param(("--user=12345:23456", "--read-only"), id="another user and group"),
        pytest.param(("--network=none",), id="no network"),
        pytest.param(("--memory=3g", "--cpus=1"), id="a small machine"),
        pytest.param(("--env=WORKERS=2", "--env=LABEL_STUDIO_URL=http://127.0.0.1", "--read-only"),
                     id="two workers"),
        pytest.param(("--env=HTTP_PROXY=http://127.0.0.1:9", "--env=http_proxy=http://127.0.0.1:9"),
                     id="behind a proxy"),
    ],
)  # fmt: skip
def test_it_answers_wherever_it_runs(compose: Compose, options: tuple[str, ...]) -> None:
    with running(*options) as name:
        answer = json.loads(docker("exec", "-i", name, "python", "-", stdin=asking("red circle")))
        assert answer["labels"] == ["Circle"]


@pytest.mark.parametrize("options", [(), ("--user=12345",)], ids=["its user", "another"])
def test_prompts_are_kept_on_the_volume(compose: Compose, options: tuple[str, ...]) -> None:
    with running("--read-only", *options) as name:
        docker("exec", "-i", name, "python", "-", stdin=asking("red circle"))
        assert "prompts.sqlite3" in docker("exec", name, "ls", "/data")


def test_an_image_for_cpus_has_the_models_as_graphs_and_no_pytorch(cpu_image: str) -> None:
    with running(image=cpu_image) as name:
        used = docker("exec", name, "sh", "-c", "cat /proc/[0-9]*/maps | grep fusion.bin")
        assert "/app/models/openvino/" in used
        answer = docker("exec", "-i", name, "python", "-", stdin=asking("red circle"))
        assert json.loads(answer)["labels"] == ["Circle"]
        packages = docker("exec", name, "ls", "/opt/venv/lib/python3.11/site-packages").split()
        assert "openvino" in packages
        assert not [one for one in packages if one.startswith(("torch", "transformers", "nvidia"))]


def test_an_image_for_cpus_is_small(cpu_image: str) -> None:
    """Without weights, which take as much as they take."""
    assert int(docker("inspect", "--format={{.Size}}", cpu_image)) < CPU_BYTES


def test_what_an_image_for_cpus_lacks_is_made_on_a_volume_by_another(
    compose: Compose, cpu_image: str
) -> None:
    volume = f"grounded-labeler-{uuid.uuid4().hex[:8]}"
    there = ("--env=MODEL_DIR=/data/models", f"--volume={volume}:/data")
    docker("volume", "create", volume)
    try:
        lacking = "which makes them, is not installed here.*docker compose run --rm weights"
        with pytest.raises(ComposeError, match=lacking):
            docker("run", "--rm", *there, cpu_image, "grounded-labeler", "weights")
        with built(compose, MAKER_IMAGE, "--target=maker"):
            hardened = ("--read-only", "--cap-drop=ALL", f"--volume={volume}:/data")
            assert "graphs made" in docker("run", "--rm", *hardened, MAKER_IMAGE)
        with running(*there, image=cpu_image) as name:
            used = docker("exec", name, "sh", "-c", "cat /proc/[0-9]*/maps | grep fusion.bin")
            assert "/data/models/openvino/" in used
    finally:
        docker("volume", "rm", "--force", volume)


def test_without_weights_it_says_what_to_do(compose: Compose) -> None:
    with pytest.raises(ComposeError, match="Weights are missing or incomplete"):
        docker("run", "--rm", "--env=DETECTOR=groundingdino-swint-ogc", IMAGE)


def test_a_setting_that_cannot_be_is_one_line(compose: Compose) -> None:
    with pytest.raises(ComposeError, match="Cannot start: BOX_THRESHOLD=7") as error:
        docker("run", "--rm", "--env=BOX_THRESHOLD=7", IMAGE)
    assert "Traceback" not in str(error.value)


def test_it_says_what_it_is(compose: Compose) -> None:
    labels = json.loads(docker("inspect", "--format={{json .Config.Labels}}", IMAGE))
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert docker("inspect", "--format={{.Config.User}}", IMAGE).strip() == "10001:0"


def test_nothing_of_the_checkout_is_in_it_but_what_runs(compose: Compose) -> None:
    found = docker("run", "--rm", IMAGE, "ls", "-A", "/app").split()
    assert sorted(found) == [
        "LICENSE", "_wsgi.py", "grounded_labeler", "gunicorn.conf.py", "model.py", "models",
    ]  # fmt: skip


def test_hadolint_finds_nothing_to_remark_in_the_dockerfile() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.is_file() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: its wheel is for Linux on Intel and AMD only")
    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_docker_finds_nothing_to_remark_in_the_dockerfile(compose: Compose) -> None:
    said = docker("build", "--check", "--build-arg", f"DEVICE={DEVICE}", str(ROOT))
    assert "no warnings found" in said
