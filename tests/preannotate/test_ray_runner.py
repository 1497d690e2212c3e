"""A run on a cluster gives what a run in one process gives, whatever happens to its actors."""

import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from grounded_labeler.cli.preannotate import main
from grounded_labeler.demo.process import ROOT
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.queries import default_queries
from grounded_labeler.preannotate import ray_runner as on_ray
from grounded_labeler.preannotate.run import Run
from grounded_labeler.settings import Settings
from tests.conftest import SAMPLES
from tests.helpers.asking import TUTORIAL
from tests.helpers.label_studio import LabelStudio
from tests.helpers.models import DEFAULT
from tests.helpers.ray_processes import actors, kill
from tests.helpers.serving import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow

TASKS = 120


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    shutil.copytree(SAMPLES, folder, ignore=shutil.ignore_patterns("*.json"))
    for number in range(TASKS):
        os.link(folder / "wide.jpg", folder / f"{number:03}.jpg")
    (folder / "broken.png").write_text("no image")
    return folder


def start(images: Path, out: str, *options: str, **environ: str) -> "subprocess.Popen[str]":
    """The command on these images; what it writes goes beside them."""
    command = [
        sys.executable, "-m", "grounded_labeler", "preannotate", "--images", str(images),
        "--labels", "Circle,Star,Ring", "--out", str(images.parent / out), *options,
    ]  # fmt: skip
    # The sums of as many threads come in the same order.
    same = {"DETECTOR": "demo", "SEGMENTER": "demo", "CACHE_BYTES": "0", "CPU_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | same | environ,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_killed_actors_lose_no_task_and_the_dataset_is_that_of_one_process_exactly(
    images: Path, ray_cluster: str
) -> None:
    killed: list[int] = []
    with start(images, "there", "--ray", RAY_ADDRESS=ray_cluster) as process:
        for kind in ("_Infer", "_Load", "_Pack"):
            wait_until(lambda: process.poll() is not None or actors(kind) - set(killed))  # noqa: B023
            assert process.poll() is None, process.communicate()
            killed.append(min(actors(kind) - set(killed)))
            kill(killed[-1])
        said, complained = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2, complained  # an image is broken
    assert f"{TASKS + 5} tasks, 1 failed" in said
    with start(images, "here") as process:
        process.communicate(timeout=PATIENCE_S)
    for name in ("coco.json", "failures.tsv"):
        there, here = (images.parent / out / name for out in ("there", "here"))
        assert there.read_bytes() == here.read_bytes()
    assert there.read_text().startswith("broken.png\t")


SECRETS = {
    "LABEL_STUDIO_URL": "http://studio.example",
    "LABEL_STUDIO_API_KEY": "t0ken-of-studio",
    "BASIC_AUTH_USER": "anna",
    "BASIC_AUTH_PASS": "pa55-of-anna",
    "PROMPT_STORE": "postgresql://anna:pa55-of-store@store.example/db",
}


class Recorder:
    """A dataset of Ray that only notes what its actors would be given."""

    def __init__(self) -> None:
        self.given: dict[str, bytes] = {}

    def map_batches(
        self, actor: type, *, fn_constructor_args: tuple[object, ...] = (), **_options: object
    ) -> "Recorder":
        self.given[actor.__name__] = pickle.dumps(fn_constructor_args)
        actor(*fn_constructor_args)  # it is enough
        return self


def test_each_kind_of_actor_is_given_no_more_than_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(SECRETS["LABEL_STUDIO_API_KEY"])
    environ = {"DETECTOR": "demo", "SEGMENTER": "none", "LABEL_STUDIO_API_KEY_FILE": str(file)}
    settings = Settings.from_env(SECRETS | environ | {"LABEL_STUDIO_API_KEY": ""})
    config = read_label_config(TUTORIAL)
    run = Run(settings, config, default_queries(config, settings, DEFAULT, lambda _: None), "7")
    recorder = Recorder()
    monkeypatch.setattr(ray.data, "from_items", lambda *_, **__: recorder)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    on_ray._pipeline(run, [{"id": 1, "data": {"image": "x"}}], 4)
    given = recorder.given
    assert given.keys() == {"_Load", "_Infer", "_Pack"}
    for kind, pickled in given.items():
        assert b"pa55" not in pickled, kind
        assert str(file).encode() not in pickled, kind
        assert (b"t0ken-of-studio" in pickled) == (kind == "_Load"), kind
    assert b"studio.example" not in given["_Pack"]


def test_of_a_task_the_models_get_its_images_and_its_id(label_studio: LabelStudio) -> None:
    """Its data may hold addresses that are signed."""
    settings = Settings.from_env({"LABEL_STUDIO_URL": label_studio.url})
    config = read_label_config(TUTORIAL)
    queries = default_queries(config, settings, DEFAULT, lambda _: None)
    task = {"id": 5, "data": {"image": f"{label_studio.url}/static/wide.jpg?Signature=5ecret"}}
    label_studio.files["/static/wide.jpg?Signature=5ecret"] = (SAMPLES / "wide.jpg").read_bytes()
    load = on_ray._Load(settings, "7", queries, 1)
    [[image]] = load({"task": on_ray._column([task])})["images"]
    assert image.image is not None, image.failure
    assert image.task == {"id": 5}
    assert b"5ecret" not in pickle.dumps(replace(image, image=None))


def test_a_machine_is_a_cluster_of_its_own(images: Path) -> None:
    with start(images, "alone", "--ray", "--limit", "20") as process:
        said, complained = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, complained
    assert "20 tasks, 0 failed" in said


def test_without_ray_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("DETECTOR", "demo")
    monkeypatch.setenv("SEGMENTER", "none")
    where = ["--images", str(SAMPLES), "--labels", "Star", "--out", str(tmp_path / "out")]
    assert main([*where, "--ray"]) == 1
    assert "--ray needs Ray: pip install" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_one_sentence(images: Path) -> None:
    with start(images, "nowhere", "--ray", RAY_ADDRESS="127.0.0.1:9") as process:
        _, complained = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "The Ray cluster at 127.0.0.1:9 cannot be joined" in complained
    assert "Traceback" not in complained
