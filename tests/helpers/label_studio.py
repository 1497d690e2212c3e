"""A stand-in for Label Studio: its files and what its API tells of projects, behind its token."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.helpers.asking import CREATED, TUTORIAL

TOKEN = "0123456789abcdef0123456789abcdef01234567"


class LabelStudio(ThreadingHTTPServer):
    """`files` maps a path to the bytes it is answered with.

    Of projects it knows 7 alone, 7.1795170150 in full, with `label_config`. `requests` are the
    paths of what was fetched; `projects`, `uploads` and `backends` are what was made in it.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.label_config = TUTORIAL
        self.projects: list[dict[str, Any]] = []
        self.uploads: list[bytes] = []
        self.backends: list[dict[str, Any]] = []

    def upload(self, name: str, data: bytes) -> str:
        """Serve `data` as an uploaded file; returns what stands in a task's data."""
        path = f"/data/upload/1/{name}"
        self.files[path] = data
        return path

    def told(self, path: str) -> Any:
        """What a GET of the API is answered with; None of what is not there."""
        if path.startswith("/api/projects?"):
            return {"results": self.projects}
        if path.strip("/") == "api/projects/7":
            return {"id": 7, "created_at": CREATED, "label_config": self.label_config}
        return None

    def made(self, path: str, body: bytes) -> Any:
        """What a POST makes."""
        if path == "/api/projects":
            self.projects.append(json.loads(body) | {"id": 7})
            return self.projects[-1]
        if path == "/api/projects/7/import":
            self.uploads.append(body)
            return {"file_upload_ids": [len(self.uploads)]}
        assert path == "/api/ml"
        self.backends.append(json.loads(body))
        return {"id": 1}


class _Handler(BaseHTTPRequestHandler):
    server: LabelStudio

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if self._is_known() or self.path.startswith("/static/"):  # open to all there, too
            told = self.server.told(self.path)
            data = self.server.files.get(self.path) if told is None else json.dumps(told).encode()
            self._answer(200 if data is not None else 404, data or b'{"detail": "Not found."}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self._is_known():
            self._answer(200, json.dumps(self.server.made(self.path, body)).encode())

    def _is_known(self) -> bool:
        known = self.headers["Authorization"] == f"Token {TOKEN}"
        if not known and not self.path.startswith("/static/"):
            self._answer(401, b'{"detail": "Invalid token."}')
        return known

    def _answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output quiet."""


@contextmanager
def run_label_studio() -> Iterator[LabelStudio]:
    with LabelStudio() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.005,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
