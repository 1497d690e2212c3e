"""The demo's project is made once, in a Label Studio that refuses clearly."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from grounded_labeler.demo import seed
from grounded_labeler.demo.process import free_port

TOKEN = "6d8f3c5b7a9e41d2806f5c3e7b1a9d4826f0c5e3"


class LabelStudio:
    """What of Label Studio the seed asks: its routes, and what came."""

    def __init__(self) -> None:
        self.projects: list[dict[str, Any]] = []
        self.uploads: list[bytes] = []
        self.backends: list[dict[str, Any]] = []

    def answer(self, path: str, body: bytes) -> Any:
        if path.startswith("/api/projects?"):
            return {"results": self.projects}
        if path == "/api/projects":
            self.projects.append(json.loads(body) | {"id": 7})
            return self.projects[-1]
        if path == "/api/projects/7/import":
            self.uploads.append(body)
            return {"file_upload_ids": [len(self.uploads)]}
        assert path == "/api/ml"
        self.backends.append(json.loads(body))
        return {"id": 1}


@pytest.fixture
def label_studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[LabelStudio]:
    asked = LabelStudio()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            known = self.headers["Authorization"] == f"Token {TOKEN}"
            answer = asked.answer(self.path, body) if known else {"detail": "Invalid token."}
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST  # noqa: N815 - the base class's name

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
        monkeypatch.setenv("SERVICE_URL", "http://labeler-demo:9090")
        yield asked
        server.shutdown()


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
