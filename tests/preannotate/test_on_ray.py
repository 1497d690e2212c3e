"""A run on a cluster gives what a run in one process gives, whatever happens to its actors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grounded_labeler.demo.running import ROOT
from grounded_labeler.preannotate.__main__ import main
from tests.conftest import SAMPLES
from tests.ray_processes import actors, kill
from tests.serving import PATIENCE_S, wait_until

TASKS = 120


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    shutil.copytree(SAMPLES, folder, ignore=shutil.ignore_patterns("*.json"))
    for number in range(TASKS):
        os.link(folder / "wide.jpg", folder / f"{number:03}.jpg")
    (folder / "broken.png").write_text("no picture")
    return folder


def start(pictures: Path, out: str, *options: str, **environ: str) -> "subprocess.Popen[str]":
    """The command on these pictures; what it writes goes beside them."""
    command = [
        sys.executable, "-m", "grounded_labeler.preannotate", "--images", str(pictures),
        "--labels", "Circle,Star,Ring", "--out", str(pictures.parent / out), *options,
    ]  # fmt: skip
    # The sums of as many threads come in the same order.
    same = {"DETECTOR": "demo", "SEGMENTER": "demo", "CACHE_BYTES": "0", "CPU_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | same | environ,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_killed_actors_lose_no_task_and_the_dataset_is_that_of_one_process_exactly(
    pictures: Path, ray_cluster: str
) -> None:
    killed: list[int] = []
    with start(pictures, "there", "--ray", RAY_ADDRESS=ray_cluster) as process:
        for kind in ("_Finding", "_Looking", "_Finding", "_Drawing"):
            wait_until(lambda: process.poll() is not None or actors(kind) - set(killed))  # noqa: B023
            assert process.poll() is None, process.communicate()
            killed.append(min(actors(kind) - set(killed)))
            kill(killed[-1])
        said, complained = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2, complained  # a picture is broken
    assert f"{TASKS + 5} tasks, 1 failed" in said
    with start(pictures, "here") as process:
        process.communicate(timeout=PATIENCE_S)
    for name in ("coco.json", "failures.tsv"):
        there, here = (pictures.parent / out / name for out in ("there", "here"))
        assert there.read_bytes() == here.read_bytes()
    assert there.read_text().startswith("broken.png\t")


def test_a_machine_is_a_cluster_of_its_own(pictures: Path) -> None:
    with start(pictures, "alone", "--ray", "--limit", "20") as process:
        said, complained = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, complained
    assert "20 tasks, 0 failed" in said


def test_without_ray_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("DETECTOR", "demo")
    where = ["--images", str(SAMPLES), "--labels", "Star", "--out", str(tmp_path / "out")]
    assert main([*where, "--ray"]) == 1
    assert "--ray needs Ray: pip install" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_one_sentence(pictures: Path) -> None:
    with start(pictures, "nowhere", "--ray", RAY_ADDRESS="127.0.0.1:9") as process:
        _, complained = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "The Ray cluster at 127.0.0.1:9 cannot be joined" in complained
    assert "Traceback" not in complained
