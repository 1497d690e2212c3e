"""A stand-in for the parts of Label Studio's API that the command for whole projects asks."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Project:
    """A project of one Label Studio; `files` maps a path to the bytes it serves."""

    label_config: str
    number: int = 7
    created_at: str = "2026-01-02T03:04:05.678901Z"
    url: str = ""
    tasks: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)

    def add(self, image: str, data: bytes | None = None) -> int:
        """A task whose image is called so, with the file if it lies here; its id."""
        number = len(self.tasks) + 1
        self.tasks.append({"id": number, "data": {"image": image}})
        if data is not None:
            self.files[image] = data
        return number

    def _listed(self) -> list[dict[str, Any]]:
        def versions(task: dict[str, Any]) -> str:
            own = [one for one in self.predictions if one["task"] == task["id"]]
            return ",".join(dict.fromkeys(str(one["model_version"]) for one in own))

        return [task | {"predictions_model_versions": versions(task)} for task in self.tasks]

    def get(self, path: str, query: dict[str, list[str]]) -> Any:
        if path == f"/api/projects/{self.number}":
            return {
                "id": self.number, "label_config": self.label_config, "created_at": self.created_at
            }  # fmt: skip
        if path == "/api/tasks":
            first = query.get("page", ["1"]) == ["1"]
            tasks = self._listed() if first else []
            return {"tasks": tasks, "total": len(self.tasks), "total_annotations": 0,
                    "total_predictions": 0}  # fmt: skip
        if path == "/api/predictions":
            return [one for one in self.predictions if one["task"] == int(query["task"][0])]
        return None

    def post(self, path: str, body: Any) -> Any:
        assert path == f"/api/projects/{self.number}/import/predictions"
        for one in body:
            self.predictions.append(one | {"id": len(self.predictions) + 1, "changes": 0})
        return {"created": len(body)}

    def patch(self, path: str, body: Any) -> Any:
        one = self.predictions[int(path.rsplit("/", maxsplit=1)[-1]) - 1]
        one |= body | {"changes": one["changes"] + 1}
        return one


@contextmanager
def serve(project: Project) -> Iterator[Project]:
    """Serve it on a free port, under `project.url`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            split = urlsplit(self.path)
            if split.path in project.files:
                project.fetched.append(split.path)
                self._answer(project.files[split.path])
            else:
                found = project.get(split.path.rstrip("/"), parse_qs(split.query))
                self._answer(json.dumps(found).encode(), 404 if found is None else 200)

        def do_POST(self) -> None:
            self._answer(json.dumps(project.post(self.path.rstrip("/"), self._body())).encode())

        def do_PATCH(self) -> None:
            self._answer(json.dumps(project.patch(self.path.rstrip("/"), self._body())).encode())

        def _body(self) -> Any:
            return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, data: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        project.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield project
        finally:
            server.shutdown()
            thread.join()
