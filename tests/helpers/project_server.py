"""The one route of Label Studio's API that tells of a project."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.helpers.asking import CREATED, TUTORIAL


class ProjectServer(ThreadingHTTPServer):
    """Knows project 7 alone, 7.1795170150 in full, with `label_config`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.label_config = TUTORIAL

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ProjectServer

    def do_GET(self) -> None:
        known = self.path.strip("/") == "api/projects/7"
        about = {"id": 7, "created_at": CREATED, "label_config": self.server.label_config}
        data = json.dumps(about if known else {"detail": "Not found."}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output quiet."""


@contextmanager
def run_project_server() -> Iterator[ProjectServer]:
    with ProjectServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
