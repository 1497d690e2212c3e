"""Predictions that people reviewed in the editor vouch for become annotations, and can go again."""

import copy
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from e2e.configs import BOXES, view
from e2e.label_studio import LEGACY_TOKEN, LabelStudio, Region
from e2e.pages import Editor, save_for_docs
from grounded_labeler.demo.process import HERE, ROOT
from grounded_labeler.demo.shapes import draw_image
from grounded_labeler.label_studio.rendering import label_of
from grounded_labeler.label_studio_api.annotations import ACCEPTED
from grounded_labeler.quality.acceptance import LEAST_CERTAIN, REVIEW_SAMPLE
from tests.quality.drawn import SEED

IMAGES, TASKS_OF_EACH = 12, 20
TASKS = IMAGES * TASKS_OF_EACH
SAMPLE = 150
PATIENCE_S = 300
NEVER_RIGHT = "Square"  # as these reviewers have it


class Commands:
    """The commands for one project, in a folder of their own."""

    def __init__(self, label_studio: LabelStudio, project: int, folder: Path) -> None:
        self.folder = folder
        self._project = str(project)
        self._environ = os.environ | {
            "DETECTOR": "demo", "SEGMENTER": "none", "MODEL_DIR": str(folder),
            "LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": LEGACY_TOKEN,
            "PYTHONPATH": str(ROOT), "COLUMNS": "160",
        }  # fmt: skip

    def start(self, command: str, *options: str) -> "subprocess.Popen[str]":
        line = [sys.executable, "-m", "grounded_labeler", command, "--project", self._project]
        return subprocess.Popen(
            [*line, *options], cwd=self.folder, env=self._environ, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, command: str, *options: str) -> str:
        """Standard output of a command that ends well."""
        process = self.start(command, *options)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, out + err
        return out


@pytest.fixture(scope="module")
def project(label_studio: LabelStudio, out: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """A project of drawn images, in each of which the demo detector finds something else."""
    number = label_studio.project("Accepted by reviews", view(BOXES))
    folder = tmp_path_factory.mktemp("drawn")
    for i in range(IMAGES):
        drawn = draw_image(np.random.default_rng(SEED + i))
        Image.fromarray(drawn.image).save(folder / f"{i:02}.png")
    label_studio.upload(number, *sorted(folder.glob("*.png")))
    images = [task["data"]["image"] for task in label_studio.tasks(number)]
    url = f"{label_studio.url}/api/projects/{number}/import"
    headers = {"Authorization": f"Token {LEGACY_TOKEN}"}
    more = [{"image": image} for image in images] * (TASKS_OF_EACH - 1)
    assert HERE.post(url, json=more, headers=headers, timeout=110).ok
    return number


@pytest.mark.timeout(1800)
def test_reviews_vouch_for_predictions_that_are_accepted_and_revoked(
    label_studio: LabelStudio, project: int, page: Page, out: Path
) -> None:
    folder = out / "accept"
    folder.mkdir()
    commands = Commands(label_studio, project, folder)
    commands.run("preannotate")
    predictions = {one["task"]: one for one in label_studio.predictions(project)}
    assert len(predictions) == TASKS

    said = commands.run("accept", "--sample", str(SAMPLE), "--seed", "1", "--apply")
    assert "from now on" in said
    sample = json.loads((folder / "accepted" / "sample.json").read_text())["tasks"]
    assert len(set(sample)) == SAMPLE
    assert shown_in(page, label_studio, project, REVIEW_SAMPLE) == sample
    save_for_docs(page, out / "docs", "accept-sample")

    first, second, *others = sample
    sent = submitted(page, label_studio, project, predictions[first])
    assert sent["parent_prediction"] == predictions[first]["id"]
    assert sent["result"] == as_reviewed(predictions[first]["result"])
    sent = submitted(page, label_studio, project, predictions[second], NEVER_RIGHT)
    assert sent["result"] == as_reviewed(predictions[second]["result"], without=NEVER_RIGHT)
    for task in others:
        own = predictions[task]
        body = sent | {
            "result": as_reviewed(own["result"], without=NEVER_RIGHT),
            "parent_prediction": own["id"],
        }
        label_studio._post(f"/api/tasks/{task}/annotations", json=body)
    assert shown_in(page, label_studio, project, REVIEW_SAMPLE) == sample

    said = commands.run("accept", "--precision", "0.8")
    assert f"{SAMPLE - empty(predictions, sample)} reviews of them" in said, said
    assert "Nothing was written" in said
    assert annotations_in(label_studio, project) == SAMPLE
    (folder / "dry-run.txt").write_text(said)

    with commands.start("accept", "--precision", "0.8", "--apply") as process:
        while process.poll() is None and annotations_in(label_studio, project) < SAMPLE + 3:
            pass
        process.send_signal(signal.SIGKILL)
    said = commands.run("accept", "--precision", "0.8", "--apply")
    report = newest_report(folder)
    thresholds = {one["label"]: one["threshold"] for one in report["labels"]}
    assert thresholds[NEVER_RIGHT] is None
    assert sum(one is not None for one in thresholds.values()) >= 2, said
    expected = {
        task: one["id"]
        for task, one in predictions.items()
        if task not in sample and may_be_accepted(one["result"], thresholds)
    }
    accepted = annotated_by_command(label_studio, project)
    assert {task: one["parent_prediction"] for task, one in accepted.items()} == expected
    assert annotations_in(label_studio, project) == SAMPLE + len(expected)
    for task, one in accepted.items():
        assert [region["value"] for region in one["result"]] == [
            region["value"] for region in predictions[task]["result"]
        ]
        assert one["completed_by"] == one["updated_by"]
    left = [task for task in predictions if task not in expected and task not in sample]
    tab = shown_in(page, label_studio, project, LEAST_CERTAIN)
    assert sorted(tab) == sorted(left)
    scores = [predictions[task]["score"] for task in tab]
    assert scores == sorted(scores)
    save_for_docs(page, out / "docs", "accept-least-certain")

    changed = min(expected)
    change(page, label_studio, project, changed, out)
    said = commands.run("accept", "--revoke")
    assert f"Accepted and as they were made: {len(expected) - 1:,}" in said
    assert "Left because people changed them, or are changing them: 1" in said
    assert list(annotated_by_command(label_studio, project)) == list(accepted)
    commands.run("accept", "--revoke", "--apply")
    assert list(annotated_by_command(label_studio, project)) == [changed]
    assert annotations_in(label_studio, project) == SAMPLE + 1


def as_reviewed(result: Sequence[Region], without: str = "") -> list[Region]:
    """What the editor sends of a prediction that somebody submits, without one label's regions."""
    return [
        copy.deepcopy(region) | {"origin": "prediction"}
        for region in result
        if label_of(region) != without
    ]


def submitted(
    page: Page,
    label_studio: LabelStudio,
    project: int,
    prediction: dict[str, Any],
    without: str = "",
) -> dict[str, Any]:
    """What is sent when an annotator opens its task, deletes a label's regions, and submits."""
    task = prediction["task"]
    page.goto(f"{label_studio.url}/projects/{project}/data?task={task}")
    Editor(page, label_studio.url).submit_button.wait_for()
    page.wait_for_load_state("networkidle")
    expect(page.locator(".lsf-outliner-item")).to_have_count(len(prediction["result"]))
    if without:
        delete_regions(page, without)
    with page.expect_request(re.compile(rf"/api/tasks/{task}/annotations")) as request:
        Editor(page, label_studio.url).submit()
    sent: object = request.value.post_data_json
    assert isinstance(sent, dict)
    return sent


def delete_regions(page: Page, label: str) -> None:
    """Select each region of a label in the list of regions and press Backspace."""
    regions = page.locator(".lsf-outliner-item").filter(has_text=label)
    for _ in range(regions.count()):
        before = regions.count()
        regions.first.click()
        page.keyboard.press("Backspace")
        expect(regions).to_have_count(before - 1)


def change(page: Page, label_studio: LabelStudio, project: int, task: int, out: Path) -> None:
    """Look at an accepted annotation, delete a region of it and update it."""
    page.goto(f"{label_studio.url}/projects/{project}/data?task={task}")
    update = Editor(page, label_studio.url).update_button
    update.wait_for()
    page.wait_for_load_state("networkidle")
    regions = page.locator(".lsf-outliner-item")
    regions.first.click()
    expect(page.get_by_text(ACCEPTED).first).to_be_visible()
    save_for_docs(page, out / "docs", "accept-marked")
    before = regions.count()
    page.keyboard.press("Backspace")
    expect(regions).to_have_count(before - 1)
    with page.expect_response(re.compile(r"/api/annotations/\d+")) as saved:
        update.click()
    assert saved.value.ok, saved.value.text()


def shown_in(page: Page, label_studio: LabelStudio, project: int, title: str) -> list[int]:
    """The tasks that the data manager shows in the tab of this title, in its order."""
    views = label_studio._get_list(f"/api/dm/views?project={project}")
    [number] = [one["id"] for one in views if one["data"]["title"] == title]
    asked = re.compile(rf"/api/tasks.*view={number}")
    with page.expect_response(asked) as listed:
        page.goto(f"{label_studio.url}/projects/{project}/data?tab={number}")
    page.get_by_label("Select all rows").wait_for()
    page.wait_for_load_state("networkidle")
    body = listed.value.json()
    # The page asks for as many as it has room for.
    every = label_studio._get(f"/api/tasks?view={number}&page_size=1000")["tasks"]
    ids = [int(task["id"]) for task in every]
    # Tasks of one score may come in another order each time, with PostgreSQL.
    assert {task["id"] for task in body["tasks"]} <= set(ids)
    assert body["total"] == len(ids)
    return ids


def annotations_in(label_studio: LabelStudio, project: int) -> int:
    listed = label_studio._get(f"/api/tasks?project={project}&page_size=1")
    return int(listed["total_annotations"])


def annotated_by_command(label_studio: LabelStudio, project: int) -> dict[int, dict[str, Any]]:
    """The annotation of each task whose regions are marked as accepted, by task."""
    found = {}
    for task in label_studio.tasks(project):
        own = [
            one
            for one in task["annotations"]
            if any(
                text.startswith(ACCEPTED)
                for region in one["result"]
                for text in region.get("meta", {}).get("text", [])
            )
        ]
        assert len(own) <= 1, own
        if own:
            found[int(task["id"])] = own[0]
    return found


def may_be_accepted(result: Sequence[Region], thresholds: dict[str, float | None]) -> bool:
    limits = [thresholds[label_of(region)] for region in result]
    return bool(result) and all(
        limit is not None and region["score"] >= limit - 1e-6
        for region, limit in zip(result, limits, strict=True)
    )


def empty(predictions: dict[int, dict[str, Any]], tasks: Sequence[int]) -> int:
    return sum(not predictions[task]["result"] for task in tasks)


def newest_report(folder: Path) -> dict[str, Any]:
    *_, path = sorted((folder / "accepted").glob("accepted-*.json"))
    report: dict[str, Any] = json.loads(path.read_text())
    return report
