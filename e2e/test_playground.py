"""Somebody tries prompts and thresholds in the playground, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from e2e.configs import BOXES, view
from e2e.conftest import StartService
from e2e.label_studio import LEGACY_TOKEN, LabelStudio
from e2e.pages import save_for_docs
from e2e.playground import Playground, run_playground
from e2e.truth import TALL, WIDE, drawn
from grounded_labeler.core.prompt import phrases_from_labels
from grounded_labeler.demo.process import HERE
from grounded_labeler.label_studio.config import read_label_config

RUNS = re.compile(r"^grounded_labeler_model_runs_total\S* (\S+)$", re.M)


@pytest.fixture(scope="module")
def address(out: Path) -> Iterator[str]:
    """A playground that has the models itself."""
    with run_playground(out / "playground") as url:
        yield url


@pytest.fixture
def playground(page: Page, address: str) -> Iterator[Playground]:
    opened = Playground.opened(page, address)
    yield opened
    assert opened.strangers == []


def runs(service: str, login: tuple[str, str]) -> float:
    """How often the models of a service have run."""
    text = HERE.get(f"{service}/metrics", auth=login, timeout=10).text
    return sum(map(float, RUNS.findall(text)))


def test_type_a_prompt_and_move_the_threshold(playground: Playground, out: Path) -> None:
    playground.sample("wide")
    playground.find("star . circle . ring", "Star, Circle")
    kept, every = playground.kept()
    assert 0 < kept < every
    rows = playground.rows()
    assert len(rows) == every
    assert [row[5] for row in rows].count("yes") == kept
    assert all(row[6] for row in rows if row[5] == "no")
    assert any("below the box threshold" in row[6] for row in rows)
    assert {row[2] for row in rows if row[1] == "star"} == {"Star"}
    save_for_docs(playground.page, out / "docs", "playground")
    before = playground.source()
    playground.slide("box", 0.95)
    playground.says(r": 0 of \d+ candidates kept")
    playground.redraws(before)
    playground.slide("box", 0.05)
    playground.says(rf": (?!0)\d+ of {every} candidates kept")
    more, _ = playground.kept()
    assert more >= kept


def test_click_on_the_image(playground: Playground) -> None:
    playground.sample("wide")
    star = drawn(WIDE).named("star")[0]
    before = playground.source()
    x0, y0, x1, y1 = star.box
    playground.click((x0 + x1) / 2 / 640, (y0 + y1) / 2 / 480)
    playground.redraws(before)
    clicked = playground.source()
    playground.page.locator("#mode").get_by_text("beside the object").click()
    playground.click(0.01, 0.01)
    playground.redraws(clicked)
    both = playground.source()
    playground.page.locator("#clear").click()
    playground.redraws(both)


def test_copy_as_label_config(playground: Playground) -> None:
    playground.page.locator("#copy").click()
    playground.says("Choose an image|Press Find first")
    playground.sample("wide")
    playground.find("blue star -> Star . circle . -red circle")
    playground.kept()
    playground.slide("box", 0.4)
    config = read_label_config(playground.copied())
    [target] = config.images
    assert [label.value for label in target.labels] == ["Star", "circle"]
    assert target.overrides.box_threshold == 0.4
    assert [one.text for one in phrases_from_labels(target.labels).phrases] == [
        "blue star", "red circle", "circle",
    ]  # fmt: skip
    assert (config.models.detector, config.models.segmenter) == ("demo", "demo")


def test_what_goes_wrong_is_said_in_a_sentence(playground: Playground, tmp_path: Path) -> None:
    page = playground.page
    page.locator("#find").click()
    playground.says("^Choose an image first")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    playground.upload(broken)
    playground.says("^The file is not an image in a known format")
    playground.enter("address", "http://169.254.169.254/latest/meta-data")
    playground.says("ALLOWED_HOSTS")
    playground.enter("address", "/etc/passwd")
    playground.says("^The address of an image must begin with http")
    playground.sample("tall")
    playground.find(" . ")
    playground.says("nothing to look for")
    playground.find("star", "<View/>")
    playground.says("label config has no <Image> tag")
    assert page.locator(".toast-wrap .toast-body").count() == 0


def test_an_upload_is_shown(playground: Playground) -> None:
    playground.upload(TALL)
    playground.says(rf"^{TALL.name}, \d+ x \d+ pixels")


def test_no_file_of_the_machine_is_served(address: str) -> None:
    for path in (
        "gradio_api/file=/etc/passwd", "gradio_api/file=../../etc/passwd", "file=/etc/passwd",
        "gradio_api/file=http://169.254.169.254/", "gradio_api/proxy=http://127.0.0.1/",
    ):  # fmt: skip
        response = requests.get(address + path, timeout=10)
        assert response.status_code in (400, 403, 404), path
        assert "root:" not in response.text
    other = requests.get(address, headers={"Host": "evil.example"}, timeout=10)
    assert other.status_code == 400


def test_a_folder_as_a_contact_sheet(page: Page, out: Path, tmp_path: Path) -> None:
    for image in (TALL, WIDE):
        (tmp_path / image.name).write_bytes(image.read_bytes())
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    uploads = tmp_path.with_name("uploads")
    uploads.mkdir()
    with run_playground(
        out / "playground-folder", "--images", str(tmp_path), TMPDIR=str(uploads)
    ) as url:
        playground = Playground.opened(page, url)
        page.get_by_role("tab", name="Many images").click()
        page.locator("#prompt textarea").fill("star . circle")
        page.locator("#find-all").click()
        said = playground.says("found in 3 images", "summary")
        assert "broken.jpg: The file is not an image" in said
        count, before = int(said.split()[0]), playground.source("sheet")
        assert count > 0
        playground.slide("box", 0.99)
        playground.says("^0 found in 3 images", "summary")
        playground.redraws(before, "sheet")
        playground.slide("box", 0.3)
        playground.says(rf"^{count} found in 3 images", "summary")
        playground.click(0.9 * 2 / 4, 0.4, "sheet")
        playground.says(rf"^{TALL.name}.*candidates kept")
        page.locator("#shown img").wait_for()
        assert playground.strangers == []
        assert list(uploads.glob("grounded-labeler-*"))
    assert list(uploads.glob("grounded-labeler-*")) == []


def test_a_running_service_is_asked(page: Page, out: Path, start_service: StartService) -> None:
    login = ("me", "secret")
    environ = {"BASIC_AUTH_USER": login[0], "BASIC_AUTH_PASS": login[1]}
    with (
        start_service("playground-service", **environ) as service,
        run_playground(
            out / "playground-asking", "--service", service, "--user", login[0],
            PLAYGROUND_PASSWORD=login[1], DETECTOR="sam3",
        ) as url,
    ):  # fmt: skip
        playground = Playground.opened(page, url)
        playground.sample("wide")
        playground.find("star . circle")
        kept, _ = playground.kept()
        before = runs(service, login)
        assert before > 0
        playground.slide("box", 0.99)
        playground.says(": 0 of")
        playground.slide("box", 0.3)
        playground.says(rf": {kept} of")
        playground.slide("text", 0.2)
        playground.says("candidates kept")
        assert runs(service, login) == before
        drawn_before = playground.source()
        playground.click(0.5, 0.5)
        playground.redraws(drawn_before)
        assert runs(service, login) > before
        assert playground.strangers == []


def test_tasks_of_a_project(page: Page, out: Path, label_studio: LabelStudio) -> None:
    project = label_studio.project("Playground", view(BOXES))
    task, other = label_studio.upload(project, WIDE, TALL)
    environ = {"LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": LEGACY_TOKEN}
    with run_playground(out / "playground-project", "--project", str(project), **environ) as url:
        playground = Playground.opened(page, url)
        playground.enter("task", str(task))
        playground.says(rf"^task {task}, 640 x 480 pixels")
        labels = page.locator("#labels").get_by_role("textbox").input_value()
        assert "<RectangleLabels" in labels
        page.locator("#find").click()
        playground.kept()
        assert "Star" in {row[2] for row in playground.rows()}
        playground.enter("task", "999999")
        playground.says("The project has no task 999999")
        page.get_by_role("tab", name="Many images").click()
        page.locator("#find-all").click()
        playground.says("found in 2 images", "summary")
        playground.click(1.5 / 4, 0.4, "sheet")
        playground.says(rf"^task {other}")
        expect(page.locator("#config")).to_be_hidden()
        assert playground.strangers == []
