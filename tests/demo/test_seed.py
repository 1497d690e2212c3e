"""The demo's project is made once, in a Label Studio that refuses clearly."""

import pytest

from grounded_labeler.demo import seed
from grounded_labeler.demo.process import free_port
from tests.helpers.label_studio import TOKEN, LabelStudio


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch, label_studio: LabelStudio) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", f"{label_studio.url}/")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    monkeypatch.setenv("SERVICE_URL", "http://labeler-demo:9090")


def test_the_project_is_made_once(
    label_studio: LabelStudio, capsys: pytest.CaptureFixture[str]
) -> None:
    assert seed.main([]) == 0
    assert "is made, with the service at http://labeler-demo:9090" in capsys.readouterr().out
    assert seed.main([]) == 0
    assert "is there already" in capsys.readouterr().out
    [project] = label_studio.projects
    assert "<RectangleLabels" in project["label_config"]
    [backend] = label_studio.backends
    assert backend["url"] == "http://labeler-demo:9090"
    assert (backend["project"], backend["is_interactive"]) == (7, True)
    assert len(label_studio.uploads) == 4
    assert all(b"\xff\xd8\xff" in upload for upload in label_studio.uploads)


def test_what_label_studio_refuses_is_said(
    label_studio: LabelStudio, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "another")
    assert seed.main([]) == 1
    assert '401 {"detail": "Invalid token."}' in capsys.readouterr().err
    assert label_studio.projects == []


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:{port}"])
def test_nobody_to_ask_is_said(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", url.format(port=free_port()))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN if url else "")
    assert seed.main([]) == 1
    assert ("does not answer" if url else "must be set") in capsys.readouterr().err
