"""Flow 1: connecting from the Model page, with and without basic auth."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from e2e.configs import BOXES, view
from e2e.conftest import StartService
from e2e.label_studio import LabelStudio
from e2e.pages import Editor, Settings, save_for_docs
from e2e.truth import WIDE, assert_found, drawn, of_type

pytestmark = pytest.mark.compatibility


def test_connect_from_the_model_page(
    label_studio: LabelStudio, service: str, settings: Settings, page: Page, out: Path
) -> None:
    project = label_studio.project("Connect", view(BOXES))
    settings.connect(project, service)
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    [backend] = label_studio.backends(project)
    assert backend["is_interactive"]
    assert backend["model_version"].startswith("demo+demo-")
    save_for_docs(page, out / "docs", "model-page")


def test_connect_with_basic_auth(
    label_studio: LabelStudio,
    start_service: StartService,
    settings: Settings,
    editor: Editor,
    page: Page,
) -> None:
    login = ("annotators", "open sesame: 1")
    project = label_studio.project("Connect with basic auth", view(BOXES))
    [task] = label_studio.upload(project, WIDE)
    environ = {"BASIC_AUTH_USER": login[0], "BASIC_AUTH_PASS": login[1], "PREANNOTATE": "off"}
    with start_service("basic-auth", **environ) as url:
        settings.connect(project, url)
        expect(page.get_by_text("User name and password required").first).to_be_visible()
        assert label_studio.backends(project) == []
        settings.connect(project, url, login)
        expect(page.get_by_text("Connected", exact=True)).to_be_visible()
        editor.open(project, task)
        editor.auto_annotation()
        editor.ask("red circle")
        assert_found(drawn(WIDE), of_type(editor.suggestions(), "rectanglelabels"), "red circle")
