"""A stand-in for the parts of Label Studio's API that the commands for whole projects ask."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER = {"id": 1, "email": "annotator@example.com", "username": "annotator"}

Answer = tuple[int, Any]  # status and body


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
    model_version: str = ""
    annotations: list[dict[str, Any]] = field(default_factory=list)
    drafts: set[int] = field(default_factory=set)  # tasks
    views: list[dict[str, Any]] = field(default_factory=list)
    users: list[dict[str, Any]] = field(default_factory=lambda: [dict(USER)])
    # How the next writes end: a status is answered without doing anything; "lost" does it and
    # cuts the connection.
    ends: list[int | str] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)  # how many tasks each had
    # A tab's tasks are equal in what they are sorted by: each page begins elsewhere in them.
    ties: bool = False
    _seconds: "count[int]" = field(default_factory=count)

    def add(self, image: str, data: bytes | None = None) -> int:
        """A task whose image is called so, with the file if it lies here; its id."""
        number = len(self.tasks) + 1
        self.tasks.append({"id": number, "data": {"image": image}})
        if data is not None:
            self.files[image] = data
        return number

    def annotate(self, task: int, result: list[dict[str, Any]], **other: Any) -> int:
        """An annotation that somebody submitted; its number."""
        now = self._now()
        defaults = {
            "task": task, "result": result, "completed_by": USER["id"], "updated_by": USER["id"],
            "created_at": now, "updated_at": now, "parent_prediction": None,
            "ground_truth": False, "was_cancelled": False, "lead_time": 1.5,
        }  # fmt: skip
        number = max((one["id"] for one in self.annotations), default=0) + 1
        self.annotations.append(defaults | other | {"id": number})
        return number

    def predict(self, task: int, result: list[dict[str, Any]], version: str, **other: Any) -> int:
        """A prediction that somebody imported; its number."""
        now = self._now()
        number = len(self.predictions) + 1
        self.predictions.append(
            {"task": task, "result": result, "score": 0.5, "model_version": version,
             "created_at": now, "updated_at": now, "changes": 0} | other | {"id": number}
        )  # fmt: skip
        return number

    def _now(self) -> str:
        """A second after it was last asked."""
        passed = timedelta(seconds=next(self._seconds))
        return (datetime(2026, 1, 2, tzinfo=UTC) + passed).isoformat()

    def _listed(self, include: set[str]) -> list[dict[str, Any]]:
        listed = []
        for task in self.tasks:
            predictions = [one for one in self.predictions if one["task"] == task["id"]]
            annotations = [one for one in self.annotations if one["task"] == task["id"]]
            versions = dict.fromkeys(str(one["model_version"]) for one in predictions)
            skips = sum(one["was_cancelled"] for one in annotations)
            fields = task | {
                "predictions_model_versions": ",".join(versions),
                "predictions": predictions,
                # Label Studio includes the same names of a task and of its annotations.
                "annotations": [
                    {name: value for name, value in one.items() if name in include}
                    for one in annotations
                ],
                "total_annotations": len(annotations) - skips,
                "cancelled_annotations": skips,
                "draft_exists": task["id"] in self.drafts,
            }
            listed.append({name: value for name, value in fields.items() if name in include})
        return listed

    def _page(self, query: dict[str, list[str]]) -> Answer:
        size, number = int(query["page_size"][0]), int(query.get("page", ["1"])[0])
        listed = self._listed(set(query["include"][0].split(",")))
        if self.ties and "view" in query:
            listed = listed[number - 1 :] + listed[: number - 1]
        page = listed[(number - 1) * size : number * size]
        if not page and number > 1:
            return 404, {"detail": "Invalid page."}
        self.pages.append(len(page))
        return 200, {"tasks": page, "total": len(listed), "total_annotations": 0,
                     "total_predictions": 0}  # fmt: skip

    def get(self, path: str, query: dict[str, list[str]]) -> Answer:
        if path == "/api/tasks":
            return self._page(query)
        if path == "/api/predictions":
            return 200, [one for one in self.predictions if one["task"] == int(query["task"][0])]
        if match := re.fullmatch(r"/api/tasks/(\d+)", path):
            return 200, next(one for one in self.tasks if one["id"] == int(match[1]))
        if match := re.fullmatch(r"/api/tasks/(\d+)/annotations", path):
            own = [one for one in self.annotations if one["task"] == int(match[1])]
            return 200, [one for one in own if not one["was_cancelled"]]
        others = {
            f"/api/projects/{self.number}": self._about(),
            "/api/current-user/whoami": self.users[0],
            "/api/users": self.users,
            "/api/dm/views": self.views,
        }
        return (200, others[path]) if path in others else (404, {"detail": "Not found."})

    def _about(self) -> dict[str, Any]:
        return {"id": self.number, "label_config": self.label_config,
                "created_at": self.created_at, "model_version": self.model_version}  # fmt: skip

    def post(self, path: str, body: Any) -> Answer:
        if match := re.fullmatch(r"/api/tasks/(\d+)/annotations", path):
            name = body.get("unique_id")
            if name and any(one.get("unique_id") == name for one in self.annotations):
                return 409, {"detail": "Annotation with this unique id already exists"}
            number = self.annotate(int(match[1]), **body)
            return 201, next(one for one in self.annotations if one["id"] == number)
        if path == "/api/dm/views":
            self.views.append({"id": len(self.views) + 1, "project": self.number} | body)
            return 201, self.views[-1]
        assert path == f"/api/projects/{self.number}/import/predictions"
        for one in body:
            self.predict(version=one["model_version"], **one)
        return 201, {"created": len(body)}

    def patch(self, path: str, body: Any) -> Answer:
        number = int(path.rsplit("/", maxsplit=1)[-1])
        if path == f"/api/projects/{self.number}":
            self.label_config = body.get("label_config", self.label_config)
            self.model_version = body.get("model_version", self.model_version)
            return 200, self._about()
        if path == f"/api/dm/views/{number}":
            view = next(one for one in self.views if one["id"] == number)
            view |= body
            return 200, view
        if path == f"/api/tasks/{number}":
            task = next(one for one in self.tasks if one["id"] == number)
            task["data"] = body["data"]
            return 200, task
        one = self.predictions[number - 1]
        one |= body | {"changes": one["changes"] + 1, "updated_at": self._now()}
        return 200, one

    def delete(self, path: str) -> Answer:
        number = int(path.rsplit("/", maxsplit=1)[-1])
        assert path == f"/api/annotations/{number}"
        left = [one for one in self.annotations if one["id"] != number]
        gone = len(left) < len(self.annotations)
        self.annotations[:] = left
        return (204, None) if gone else (404, {"detail": "Not found."})


@contextmanager
def serve(project: Project) -> Iterator[Project]:
    """Serve it on a free port, under `project.url`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            split = urlsplit(self.path)
            if split.path in project.files:
                project.fetched.append(split.path)
                self._send(project.files[split.path])
            else:
                self._answer(project.get(split.path.rstrip("/"), parse_qs(split.query)))

        def do_POST(self) -> None:
            body = self._body()
            self._write(lambda path: project.post(path, body))

        def do_PATCH(self) -> None:
            body = self._body()
            self._write(lambda path: project.patch(path, body))

        def do_DELETE(self) -> None:
            self._write(project.delete)

        def _write(self, do: Callable[[str], Answer]) -> None:
            end = project.ends.pop(0) if project.ends else None
            if isinstance(end, int):
                self._answer((end, {"detail": "not now"}))
                return
            answer = do(urlsplit(self.path).path.rstrip("/"))
            if end == "lost":
                self.connection.close()
                return
            self._answer(answer)

        def _body(self) -> Any:
            return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, answer: Answer) -> None:
            status, body = answer
            self._send(b"" if body is None else json.dumps(body).encode(), status)

        def _send(self, data: bytes, status: int = 200) -> None:
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
