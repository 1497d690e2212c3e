"""One Label Studio for all flows; a service with the settings each flow asks for."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from e2e.label_studio import (
    DATABASES,
    LEGACY_TOKEN,
    RELEASES,
    LabelStudio,
    Region,
    run_label_studio,
)
from e2e.pages import DataManager, Editor, Settings, log_in
from grounded_labeler.demo.process import ROOT, free_port, run_service
from tests.helpers.serving import PATIENCE_S

# What a maintainer keeps in a file `.env` here is for no process of a test.
os.environ["ENV_FILE"] = os.devnull

OUT = ROOT / "e2e-output"
CHROMIUM = "chromium"

StartService = Callable[..., AbstractContextManager[str]]
Annotate = Callable[[int, int, str], list[Region]]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("label-studio", "the Label Studio of the flows")
    group.addoption("--label-studio", choices=tuple(RELEASES), default="newest")
    group.addoption("--database", choices=DATABASES, default="sqlite")


def pytest_report_header(config: pytest.Config) -> str:
    return _which_label_studio(config)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say it once more, beside what failed."""
    terminalreporter.write_line(_which_label_studio(config))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("bitmasks") and _chosen(item.config)[0] == "oldest":
        pytest.skip("The oldest Label Studio that is supported has no <BitmaskLabels>.")


def _which_label_studio(config: pytest.Config) -> str:
    release, database = _chosen(config)
    return f"Label Studio: the {release} release that is supported, with {database}"


def _chosen(config: pytest.Config) -> tuple[str, str]:
    return config.getoption("--label-studio"), config.getoption("--database")


@pytest.fixture(scope="session")
def out(pytestconfig: pytest.Config) -> Path:
    """Where logs and screenshots of this run are left: beside those of other Label Studios."""
    folder = OUT / "-".join(_chosen(pytestconfig))
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "docs").mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def label_studio(out: Path, pytestconfig: pytest.Config) -> Iterator[LabelStudio]:
    with run_label_studio(out / "label-studio", *_chosen(pytestconfig)) as running:
        yield running


@pytest.fixture(scope="session")
def start_service(label_studio: LabelStudio, out: Path) -> StartService:
    """Start the service as `name`, with further environment variables.

    One started again under the same name finds the files the first one left.
    """

    def start(name: str, port: int | None = None, **environ: str) -> AbstractContextManager[str]:
        folder = out / name
        folder.mkdir(exist_ok=True)
        defaults = {"LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": LEGACY_TOKEN}
        return run_service(port or free_port(), folder / "service.log", **defaults | environ)

    return start


@pytest.fixture(scope="session")
def service(start_service: StartService) -> Iterator[str]:
    """Answers what is typed and nothing else, so that a flow meets its own regions only.

    Images and the stand-in for S3 are served from loopback.
    """
    with start_service("typed", PREANNOTATE="off", ALLOWED_HOSTS="127.0.0.1") as url:
        yield url


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """Debian's chromium: Playwright's own browsers are not in any package registry."""
    path = shutil.which(CHROMIUM)
    if path is None:
        pytest.exit("chromium is not installed: run `make e2e`, which installs it.", returncode=1)
    # Its sandbox cannot be had by root, and pages of loopback need none.
    return {"executable_path": path, "args": ["--no-sandbox"]}


@pytest.fixture(scope="session")
def login(browser: Browser, label_studio: LabelStudio) -> Any:
    """The cookies of the annotator, logged in once."""
    return log_in(browser, label_studio.url)


@pytest.fixture(scope="session")
def browser_context_args(login: Any) -> dict[str, Any]:
    return {"storage_state": login, "viewport": {"width": 1400, "height": 900}}


@pytest.fixture
def page(page: Page) -> Page:
    page.set_default_timeout(PATIENCE_S * 1000)
    expect.set_options(timeout=PATIENCE_S * 1000)
    return page


@pytest.fixture
def editor(page: Page, label_studio: LabelStudio) -> Editor:
    return Editor(page, label_studio.url)


@pytest.fixture
def annotate(label_studio: LabelStudio, editor: Editor) -> Annotate:
    """Type a prompt next to a project's task, accept what is suggested, submit: what is saved."""

    def annotate(project: int, task: int, prompt: str) -> list[Region]:
        editor.open(project, task)
        editor.auto_annotation()
        editor.ask(prompt)
        if editor.suggestions():
            editor.accept()
        editor.submit()
        return label_studio.annotation(task)

    return annotate


@pytest.fixture
def settings(page: Page, label_studio: LabelStudio) -> Settings:
    return Settings(page, label_studio.url)


@pytest.fixture
def data_manager(page: Page, label_studio: LabelStudio) -> DataManager:
    return DataManager(page, label_studio.url)
