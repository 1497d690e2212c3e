"""A whole project is pre-annotated by one command, however often that is killed."""

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from e2e.configs import BOXES, view
from e2e.conftest import StartService
from e2e.label_studio import LEGACY_TOKEN, LabelStudio
from e2e.truth import WIDE
from grounded_labeler.core.boxes import box_iou
from grounded_labeler.demo.process import HERE, ROOT
from grounded_labeler.label_studio.rendering import box_of, label_of
from tests.conftest import SAMPLES
from tests.label_studio.test_backend import true_boxes

# The long form: PREANNOTATE_TASKS=2000 PREANNOTATE_KILLS=10
TASKS = int(os.environ.get("PREANNOTATE_TASKS", "300"))
KILLS = int(os.environ.get("PREANNOTATE_KILLS", "2"))
PATIENCE_S = 600


class Command:
    """`grounded-labeler preannotate` for one project."""

    def __init__(self, label_studio: LabelStudio, project: int, out: Path, **environ: str) -> None:
        self._command = [
            sys.executable, "-m", "grounded_labeler", "preannotate", "--project", str(project),
            "--out", str(out),
        ]  # fmt: skip
        self._environ = os.environ | {
            "DETECTOR": "demo", "SEGMENTER": "none", "MODEL_DIR": str(out),
            "LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": LEGACY_TOKEN,
            "CACHE_BYTES": "0",  # or the same image again and again would take no time
            **environ,
        }  # fmt: skip

    def start(self, *options: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self._command, *options], cwd=ROOT, env=self._environ, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *options: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self._command, *options], cwd=ROOT, env=self._environ, text=True,
            capture_output=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip


def add_many(label_studio: LabelStudio, project: int, image: str, count: int) -> list[int]:
    """So many tasks with that image; their ids."""
    url = f"{label_studio.url}/api/projects/{project}/import"
    headers = {"Authorization": f"Token {LEGACY_TOKEN}"}
    answer = HERE.post(url, json=[{"image": image}] * count, headers=headers, timeout=110)
    assert answer.ok, answer.text
    return [task["id"] for task in label_studio.tasks(project)]


@pytest.mark.timeout(3600)
def test_killed_again_and_again_every_task_has_one_prediction(
    label_studio: LabelStudio, start_service: StartService, out: Path
) -> None:
    project = label_studio.project("Killed", view(BOXES))
    [first] = label_studio.upload(project, WIDE)
    image = label_studio.tasks(project)[0]["data"]["image"]
    add_many(label_studio, project, image, TASKS - 1)
    missing = label_studio.add(project, "/data/upload/0/not-there.jpg")
    command, chance = Command(label_studio, project, out / "preannotated"), random.Random(0)
    for _ in range(KILLS):
        before = label_studio.count_predictions(project)
        with command.start() as process:
            deadline = time.monotonic() + PATIENCE_S
            while label_studio.count_predictions(project) == before:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
        assert before < label_studio.count_predictions(project) < TASKS
    done = command.run()
    assert done.returncode == 2, done.stderr  # one image is not there
    [failure] = (out / "preannotated" / "failures.tsv").read_text().splitlines()
    assert failure.startswith(f"{missing}\tLabel Studio ")

    predictions = label_studio.predictions(project)
    made = Counter(prediction["task"] for prediction in predictions)
    assert len(made) == TASKS
    assert set(made.values()) == {1}
    with start_service("preannotated", SEGMENTER="none") as url:
        config = view(BOXES)
        setup = HERE.post(
            f"{url}/setup", json={"project": f"{project}.1", "schema": config}, timeout=110
        )
        versions = {prediction["model_version"] for prediction in predictions}
        assert versions == {setup.json()["model_version"]}
    truth = json.loads((SAMPLES / "truth.json").read_text())
    star = true_boxes(truth, "wide.jpg", "blue star")
    [result] = [one["result"] for one in predictions if one["task"] == first]
    found = np.stack([box_of(region) for region in result if label_of(region) == "Star"])
    assert box_iou(star, found).max() > 0.8
    again = command.run("--dry-run")
    assert f"{TASKS + 1} tasks, 1 of them to look at" in again.stdout


@pytest.mark.compatibility
def test_a_part_of_a_project_for_a_prompt(label_studio: LabelStudio, out: Path) -> None:
    project = label_studio.project("In part", view(BOXES))
    label_studio.upload(project, WIDE)
    image = label_studio.tasks(project)[0]["data"]["image"]
    ids = add_many(label_studio, project, image, 5)
    command = Command(label_studio, project, out / "in-part")
    chosen = [str(one) for one in ids[1:4]]
    done = command.run("--prompt", "red circle", "--task-ids", *chosen, "--limit", "2")
    assert done.returncode == 0, done.stderr
    predictions = label_studio.predictions(project)
    assert sorted(one["task"] for one in predictions) == ids[1:3]
    for one in predictions:
        assert [label_of(region) for region in one["result"] if region["type"] != "textarea"] == [
            "Circle"
        ]
    assert (out / "in-part" / "sheet.jpg").is_file()


@pytest.mark.compatibility
def test_what_is_overwritten_is_changed_in_its_place(label_studio: LabelStudio, out: Path) -> None:
    project = label_studio.project("Overwritten", view(BOXES))
    label_studio.upload(project, WIDE)
    image = label_studio.tasks(project)[0]["data"]["image"]
    add_many(label_studio, project, image, 40)
    command = Command(label_studio, project, out / "overwritten")
    assert command.run("--limit", "30").returncode == 0
    before = {one["task"]: one for one in label_studio.predictions(project)}
    assert len(before) == 30
    with command.start("--overwrite") as process:  # ended on the way, and run again
        while len(updated(label_studio, project, before)) <= 16:  # kept 16 at a time
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
    done = command.run("--overwrite")
    assert done.returncode == 0, done.stderr
    asked = int(done.stdout.split()[2])
    assert asked <= 41 - 16, "what was overwritten before is not asked again"
    after = label_studio.predictions(project)
    assert sorted(one["task"] for one in after) == [
        one["id"] for one in label_studio.tasks(project)
    ]
    assert updated(label_studio, project, before) == set(before)
    assert {one["id"] for one in before.values()} <= {one["id"] for one in after}
    again = command.run("--overwrite", "--dry-run")
    assert "41 tasks, 41 of them to look at" in again.stdout


def updated(label_studio: LabelStudio, project: int, before: dict[int, dict[str, Any]]) -> set[int]:
    """The tasks whose prediction is no longer as before: its regions' ids are new each time."""
    now = {one["task"]: one for one in label_studio.predictions(project)}
    return {task for task, one in before.items() if one["result"] != now[task]["result"]}


def test_a_project_becomes_a_dataset_and_stays_as_it_is(
    label_studio: LabelStudio, out: Path
) -> None:
    polygons = '<PolygonLabels name="outlines" toName="image"><Label value="Star"/></PolygonLabels>'
    project = label_studio.project("Exported", view(polygons))
    label_studio.upload(project, WIDE)
    truth = json.loads((SAMPLES / "truth.json").read_text())
    dataset = out / "exported" / "sub" / "stars.json"
    command = Command(label_studio, project, out / "exported", SEGMENTER="demo")
    done = command.run("--export", str(dataset))
    assert done.returncode == 0, done.stderr
    assert label_studio.count_predictions(project) == 0
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(dataset)
    [image] = coco.imgs.values()
    address = label_studio.tasks(project)[0]["data"]["image"]
    assert image["file_name"] == address.removeprefix("/data/")
    assert [one["name"] for one in coco.cats.values()] == ["Star"]
    star = true_boxes(truth, "wide.jpg", "blue star")
    found = np.array([one["bbox"] for one in coco.anns.values()], np.float32)
    found[:, 2:] += found[:, :2]
    assert box_iou(star, found).max() > 0.8
    assert all(coco.annToMask(one).sum() == one["area"] for one in coco.anns.values())
    again = command.run("--export", str(dataset), "--dry-run")
    assert "1 tasks, 0 of them to look at" in again.stdout


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"LABEL_STUDIO_API_KEY": "wrong"}, "401"),
        ({"LABEL_STUDIO_API_KEY": ""}, "needs LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"),
    ],
)
def test_what_label_studio_refuses_is_one_sentence(
    label_studio: LabelStudio, out: Path, environ: dict[str, str], said: str
) -> None:
    done = Command(label_studio, 1, out / "refused", **environ).run()
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
