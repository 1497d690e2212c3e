"""What is wrong with the command line or the settings is said in one line, before models load."""

import socket
from pathlib import Path

import pytest

from grounded_labeler.cli.playground import main


@pytest.fixture(autouse=True)
def demo(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DETECTOR": "demo", "SEGMENTER": "demo"}.items():
        monkeypatch.setenv(name, value)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments, "--port", "0"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_others_reach_it_with_a_login_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert "set BASIC_AUTH_USER and BASIC_AUTH_PASS" in said(capsys, "--host", "0.0.0.0")


def test_a_folder_must_have_images(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no folder with images" in said(capsys, "--images", str(tmp_path))


def test_a_project_needs_label_studio(capsys: pytest.CaptureFixture[str]) -> None:
    assert "LABEL_STUDIO_URL" in said(capsys, "--project", "7")


def test_a_service_must_be_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No service answers" in said(capsys, "--service", "http://127.0.0.1:1")
    assert "must be as http://" in said(capsys, "--service", "localhost")
    monkeypatch.delenv("PLAYGROUND_PASSWORD", raising=False)
    line = said(capsys, "--service", "http://127.0.0.1:1", "--user", "me")
    assert line == "Set PLAYGROUND_PASSWORD to the password of --user me."


def test_a_busy_port_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    assert f"Port {port} of 127.0.0.1 cannot be listened on" in capsys.readouterr().err


def test_a_user_is_for_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--user", "me"])
    assert "--user is for --service" in capsys.readouterr().err
