"""An empty project of a real Label Studio, connected by the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.conftest import StartService
from e2e.label_studio import LEGACY_TOKEN, LabelStudio
from e2e.truth import WIDE
from grounded_labeler.demo.process import ROOT, free_port
from tests.helpers.serving import PATIENCE_S

pytestmark = pytest.mark.compatibility

LABELS = "Circle,Square,Triangle,Star,Ring"


def run(
    label_studio: LabelStudio, command: str, *options: str, token: str = LEGACY_TOKEN, **more: str
) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {
        "DETECTOR": "demo", "SEGMENTER": "demo",
        "LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": token,
    } | more  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "grounded_labeler", command, *options], cwd=ROOT, env=environ,
        text=True, capture_output=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def test_an_empty_project_is_connected_by_the_command(
    label_studio: LabelStudio, service: str, out: Path
) -> None:
    project = label_studio.project("By the command", "<View></View>")
    [task] = label_studio.upload(project, WIDE)
    options = ("--project", str(project), "--url", service, "--labels", LABELS, "--yes")
    # With a personal access token, as new organizations have them.
    token = label_studio.personal_access_token()
    connected = run(label_studio, "connect", *options, token=token)
    assert connected.returncode == 0, connected.stderr
    assert '+  <RectangleLabels name="boxes" toName="image" smart="true">' in connected.stdout
    assert f"Asked through Label Studio, task {task}: " in connected.stdout
    assert f"task {task}: 0 regions" not in connected.stdout
    assert f"Open {label_studio.url}/projects/{project}/data" in connected.stdout
    [backend] = label_studio.backends(project)
    assert backend["is_interactive"]
    assert backend["readable_state"] == "Connected"
    found = label_studio.ask(int(backend["id"]), task, "star")
    named = {tuple(one["value"].get("brushlabels", ())) for one in found}
    assert ("Star",) in named  # as a mask: a segmenter runs
    # Once more: nothing is doubled.
    again = run(label_studio, "connect", *options, token=token)
    assert again.returncode == 0, again.stderr
    assert "has all that is needed" in again.stdout
    assert [one["id"] for one in label_studio.backends(project)] == [backend["id"]]


def test_what_label_studio_says_of_a_mistake_is_named(
    label_studio: LabelStudio, service: str
) -> None:
    project = label_studio.project("Mistakes", "<View></View>")
    nowhere = f"http://127.0.0.1:{free_port()}"
    options = ("--labels", LABELS, "--yes")
    for more, token, sentence in (
        (("--project", "99999", "--url", service), LEGACY_TOKEN, "There is no project 99999"),
        (("--project", str(project), "--url", service), "0" * 40, "does not know the token"),
        (("--project", str(project), "--url", nowhere), LEGACY_TOKEN, "is the container itself"),
        (
            ("--project", str(project), "--url", "http://labeler.invalid:9090"),
            LEGACY_TOKEN,
            "cannot resolve labeler.invalid",
        ),
    ):
        ran = run(label_studio, "connect", *more, *options, token=token)
        assert ran.returncode == 1, ran.stdout
        assert sentence in ran.stderr
    assert label_studio.backends(project) == []


def test_the_doctor_looks_at_the_storages_of_a_project(
    label_studio: LabelStudio, start_service: StartService
) -> None:
    project = label_studio.project("Looked at", "<View></View>")
    label_studio.upload(project, WIDE)
    folder = label_studio.files / "looked-at"
    folder.mkdir()
    (folder / "wide.jpg").write_bytes(WIDE.read_bytes())
    label_studio.sync_storage("localfiles", project=project, path=str(folder), title="Looked at")
    port = free_port()
    with start_service("doctor", port=port) as url:
        options = ("--project", str(project), "--url", url, "--labels", LABELS, "--yes")
        assert run(label_studio, "connect", *options).returncode == 0
        looked = run(label_studio, "doctor", "--project", str(project), "--json", PORT=str(port))
    found = json.loads(looked.stdout)
    assert looked.returncode == 0, found
    texts = [one["text"] for one in found]
    assert "uploads: 1 of 1 that were tried can be read" in texts
    assert "local files of Label Studio: 1 of 1 that were tried can be read" in texts
    assert any("the legacy token works" in text for text in texts)
    [prediction] = [one for one in found if one["check"] == "prediction"]
    assert f"of the service at http://localhost:{port}" in prediction["text"]
