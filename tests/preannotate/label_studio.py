"""A stand-in for the parts of Label Studio's API that a whole run asks."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.conftest import SAMPLES
from tests.helpers.asking import IMAGE, RECTANGLES, view
from tests.helpers.label_studio import TOKEN

PROJECT = 7


class Standing(ThreadingHTTPServer):
    """Project 7 with so many tasks of one image.

    `status` is what an import is answered with; None leaves it without an answer, and
    `asked` is set once one has come. `failures` are the next answers to anything else.
    """

    daemon_threads = True

    def __init__(self, tasks: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        image = base64.b64encode((SAMPLES / "wide.jpg").read_bytes()).decode()
        data = {"image": f"data:image/jpeg;base64,{image}"}
        self.tasks = [{"id": number, "data": data} for number in range(1, tasks + 1)]
        self.kept: list[dict[str, Any]] = []
        self.status: int | None = 201
        self.failures: list[int] = []
        self.asked, self.released = threading.Event(), threading.Event()

    @property
    def environ(self) -> dict[str, str]:
        """Settings of a run that goes there."""
        url = f"http://127.0.0.1:{self.server_address[1]}"
        return {"LABEL_STUDIO_URL": url, "LABEL_STUDIO_API_KEY": TOKEN}


@contextmanager
def standing(tasks: int) -> Iterator[Standing]:
    with Standing(tasks) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Standing

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        if self.server.failures:
            self._answer(self.server.failures.pop(0), {"detail": "not now"})
        elif where.path == f"/api/projects/{PROJECT}/":
            self._answer(200, {"id": PROJECT, "label_config": view(IMAGE, RECTANGLES)})
        elif where.path == "/api/tasks/":
            query = parse_qs(where.query)
            size, number = int(query["page_size"][0]), int(query["page"][0])
            tasks = self.server.tasks[(number - 1) * size : number * size]
            done = {one["task"]: one["model_version"] for one in self.server.kept}
            page = [one | {"predictions_model_versions": done.get(one["id"], "")} for one in tasks]
            body = {"tasks": page, "total": len(self.server.tasks), "total_annotations": 0}
            self._answer(200 if page else 404, body | {"total_predictions": 0})
        else:
            self._answer(404, {"detail": "unknown"})

    def do_POST(self) -> None:
        new = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.set()
        if self.server.status is None:
            self.server.released.wait()
            return
        if self.server.status < 300:
            self.server.kept += new
        self._answer(self.server.status, {"created": len(new)})

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
