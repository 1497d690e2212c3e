"""What gunicorn is told, seen from an application it serves."""

import os
import sys
from pathlib import Path

import pytest

from grounded_labeler.demo.running import HERE, answers, free_port, running
from tests.serving import PATIENCE_S

PROXY_HEADERS = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Ssl": "on",
    "Forwarded": "for=203.0.113.9;proto=https",
}


def test_no_forwarded_header_is_believed(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    serve = ["--config", "gunicorn.conf.py", "--bind", f"127.0.0.1:{port}", "tests.echo:app"]
    environ = os.environ | {"DETECTOR": "demo"}
    command = [sys.executable, "-m", "gunicorn", *serve]
    with running(command, environ, tmp_path / "log", lambda: answers(url)):
        assert HERE.get(url, headers=PROXY_HEADERS, timeout=PATIENCE_S).json() == [
            "http",
            "127.0.0.1",
        ]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_folder_of_the_user_s_figures_is_left_alone(tmp_path: Path, workers: str) -> None:
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "theirs.txt").write_text("kept")
    serve = ["--config", "gunicorn.conf.py", "--bind", f"127.0.0.1:{(port := free_port())}"]
    command = [sys.executable, "-m", "gunicorn", *serve, "tests.echo:app"]
    environ = {
        "DETECTOR": "demo",
        "WORKERS": workers,
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "PROMETHEUS_MULTIPROC_DIR": str(folder),
    }
    url = f"http://127.0.0.1:{port}"
    with running(command, os.environ | environ, tmp_path / "log", lambda: answers(url)):
        pass
    assert [file.name for file in folder.iterdir()] == ["theirs.txt"]
