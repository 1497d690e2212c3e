"""The container's health check says what /ready says."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from grounded_labeler import probe
from grounded_labeler.demo.running import free_port


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/ready" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "code"), [(200, b'{"status": "UP"}', 0), (503, b'{"error": "loading"}', 1)]
)
def test_it_is_ready_when_it_says_so(
    capsys: pytest.CaptureFixture[str], status: int, body: bytes, code: int
) -> None:
    with answering(status, body) as port:
        assert probe.main(port) == code
    assert capsys.readouterr().out == body.decode() + "\n"


def test_nobody_there_is_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    assert probe.main(port) == 1
    assert f"no answer on port {port}" in capsys.readouterr().out


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with answering(200, b"ready") as port:
        assert probe.main(port) == 0


def test_what_does_not_speak_http_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe, "_PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert probe.main(silent.getsockname()[1]) == 1
    assert "no answer" in capsys.readouterr().out
