"""People annotate; tune finds better phrases, from the command line and from the Model page."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from e2e.configs import IMAGE, PROMPT
from e2e.conftest import StartService
from e2e.label_studio import LEGACY_TOKEN, LabelStudio
from e2e.pages import Settings
from grounded_labeler.demo.process import HERE, ROOT
from tests.helpers.serving import wait_until
from tests.quality.drawn import draw
from tests.server.test_tuning import regions

# "Disc" finds nothing; the demo detector knows it as "circle".
CONFIG = (
    f"<View>{PROMPT}"
    '<RectangleLabels name="label" toName="image">\n'
    '  <Label value="Disc" background="#c00"/>\n'
    '  <Label value="Star" predicted_values="five-pointed star"/>\n'
    f"</RectangleLabels>{IMAGE}</View>"
)
IMAGES = 24
PATIENCE_S = 600


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("drawn")
    paths = [folder / f"{number:03}.png" for number in range(IMAGES)]
    for path, drawn in zip(paths, draw(IMAGES, seed=70_000), strict=True):
        Image.fromarray(drawn.image).save(path)
    return paths


def annotated(label_studio: LabelStudio, title: str, config: str, images: list[Path]) -> int:
    """A project whose tasks are annotated, as it is drawn."""
    project = label_studio.project(title, config)
    tasks = label_studio.upload(project, *images)
    for task, drawn in zip(tasks, draw(IMAGES, seed=70_000), strict=True):
        path = f"/api/tasks/{task}/annotations"
        label_studio._post(path, json={"result": regions(drawn), "lead_time": 4.2})
    return project


def tune(
    label_studio: LabelStudio, project: int, out: Path, *options: str
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "grounded_labeler", "tune", "--project", str(project)]
    environ = os.environ | {
        "DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": str(out),
        "LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": LEGACY_TOKEN,
    }  # fmt: skip
    return subprocess.run(
        [*command, "--out", str(out), *options], cwd=ROOT, env=environ, text=True,
        capture_output=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def config_of(label_studio: LabelStudio, project: int) -> str:
    return str(label_studio._get(f"/api/projects/{project}")["label_config"])


def test_tune_changes_the_config_of_a_project_after_showing_how(
    label_studio: LabelStudio, start_service: StartService, images: list[Path], out: Path
) -> None:
    project = annotated(label_studio, "tuned", CONFIG, images)
    before = config_of(label_studio, project)
    folder = out / "tuned"
    shown = tune(label_studio, project, folder, "--try", "Disc: circle, ring, square")
    assert shown.returncode == 0, shown.stderr
    assert '+  <Label value="Disc" background="#c00" prompt="circle"' in shown.stdout
    assert config_of(label_studio, project) == before
    options = ("--try", "Disc: circle, ring, square", "--apply")
    applied = tune(label_studio, project, folder, *options)
    assert applied.returncode == 0, applied.stderr
    assert '+  <Label value="Disc" background="#c00" prompt="circle"' in applied.stdout
    assert "has these changes" in applied.stdout
    after = config_of(label_studio, project)
    assert after == (folder / "label-config.xml").read_text()
    assert 'prompt="circle"' in after
    assert 'predicted_values="five-pointed star"' in after
    # The service finds the discs now that nothing was found of before, with that very version.
    with start_service("tuned-service") as service:
        label_studio.connect(project, service)
        task = int(label_studio.tasks(project)[0]["id"])
        label_studio.open(task)
        [prediction] = label_studio.predictions(project)
    assert prediction["model_version"] in applied.stdout
    found = [region["value"]["rectanglelabels"] for region in prediction["result"]]
    drawn = [region["value"]["rectanglelabels"] for region in regions(draw(1, seed=70_000)[0])]
    assert sorted(found) == sorted(drawn)


def test_start_training_on_the_model_page_leads_to_a_proposal(
    label_studio: LabelStudio,
    start_service: StartService,
    settings: Settings,
    browser: Browser,
    images: list[Path],
    out: Path,
) -> None:
    config = CONFIG.replace('value="Disc"', 'value="Disc" predicted_values="circle"')
    project = annotated(label_studio, "trained", config, images)
    login = ("anna", "secret")
    data = out / "training" / "data"
    environ = {"BASIC_AUTH_USER": login[0], "BASIC_AUTH_PASS": login[1], "DATA_DIR": str(data)}
    with start_service("training", **environ) as service:
        settings.connect(project, service, login)
        settings.start_training(project)
        address = f"{service}/tune/{project}"
        wait_until(lambda: HERE.get(address, auth=login).json()["state"] != "running")
        state = HERE.get(address, auth=login).json()
        assert state["state"] == "proposed", state
        assert (
            'predicted_values="circle" background="#c00" prompt="circle"' in state["label_config"]
        )
        assert config_of(label_studio, project) == config
        context = browser.new_context(
            http_credentials={"username": login[0], "password": login[1]},
            viewport={"width": 1200, "height": 1300},
        )
        tuning = context.new_page()
        asked: list[str] = []
        tuning.on("request", lambda request: asked.append(request.url))
        tuning.goto(address)
        expect(tuning.get_by_text("There is a better label config")).to_be_visible()
        tuning.screenshot(path=out / "docs" / "tuning-page.jpg", type="jpeg", quality=85)
        context.close()
        assert {url for url in asked if not url.endswith("/favicon.ico")} == {address}
    log = (out / "training" / "service.log").read_text()
    assert f"project {project}: tuning proposed" in log
