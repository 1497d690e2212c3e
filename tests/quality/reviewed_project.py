"""A stand-in for a project of Label Studio that people review: predictions, annotations, tabs."""

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.helpers.asking import IMAGE, RECTANGLES, view
from tests.helpers.label_studio import TOKEN

PROJECT = 7
VERSION = "demo-1"
SERVICE, PERSON = 1, 2  # users; the token is the service's

Region = dict[str, Any]
Placed = tuple[str, float]  # a label and a score


def region(label: str, score: float, place: int) -> Region:
    """A predicted box; boxes of different places do not overlap."""
    return {
        "id": f"region-{place}", "from_name": "label", "to_name": "image",
        "type": "rectanglelabels", "score": score,
        "original_width": 1000, "original_height": 1000, "image_rotation": 0,
        "value": {"x": 5 * (place % 20), "y": 5 * (place // 20), "width": 4, "height": 4,
                  "rotation": 0, "rectanglelabels": [label]},
    }  # fmt: skip


class ReviewedProject(ThreadingHTTPServer):
    """Project 7. `refuse_after` so many writes, Label Studio refuses all others."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.label_config = view(IMAGE, RECTANGLES)
        self.tasks: dict[int, dict[str, Any]] = {}
        self.views: list[dict[str, Any]] = []
        self.model_version = ""
        self.refuse_after: int | None = None
        self.writes = 0
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._ids = iter(range(1, 10**9))

    @property
    def environ(self) -> dict[str, str]:
        """Settings of a command that goes there."""
        url = f"http://127.0.0.1:{self.server_address[1]}"
        return {"LABEL_STUDIO_URL": url, "LABEL_STUDIO_API_KEY": TOKEN}

    def predict(self, *objects: Placed, version: str = VERSION) -> int:
        """A new task whose prediction has these objects; its id."""
        number = next(self._ids)
        self.tasks[number] = {"id": number, "data": {"image": f"/data/{number}.jpg"},
                              "annotations": [], "predictions": [], "draft_exists": False,
                              "cancelled_annotations": 0}  # fmt: skip
        self.predict_again(number, *objects, version=version)
        return number

    def predict_again(self, task: int, *objects: Placed, version: str = VERSION) -> None:
        """One more prediction of a task."""
        now = self._tick()
        result = [region(label, score, place) for place, (label, score) in enumerate(objects)]
        self.tasks[task]["predictions"].append(
            {"id": next(self._ids), "task": task, "result": result, "score": 0.5,
             "model_version": version, "created_at": now, "updated_at": now}
        )  # fmt: skip

    def review(self, task: int, wrong: tuple[int, ...] = (), **other: Any) -> dict[str, Any]:
        """A person submits the prediction as the editor does, without the wrong objects."""
        [*_, prediction] = self.tasks[task]["predictions"]
        result = [
            one | {"origin": "prediction"}
            for place, one in enumerate(copy.deepcopy(prediction["result"]))
            if place not in wrong
        ]
        fields = {"result": result, "parent_prediction": prediction["id"]} | other
        return self.annotate(task, PERSON, fields)

    def annotate(self, task: int, user: int, fields: dict[str, Any]) -> dict[str, Any]:
        now = self._tick()
        made = {
            "id": next(self._ids), "completed_by": user, "updated_by": user, "created_at": now,
            "updated_at": now, "was_cancelled": False, "ground_truth": False, "task": task,
            "parent_prediction": None, **fields,
        }  # fmt: skip
        self.tasks[task]["annotations"].append(made)
        return made

    def change(self, annotation: dict[str, Any], user: int = PERSON) -> None:
        """A user moves a region of an annotation."""
        annotation["result"][0]["value"]["x"] += 1
        annotation |= {"updated_by": user, "updated_at": self._tick()}

    def accepted(self) -> dict[int, list[dict[str, Any]]]:
        """The annotations by the service, by task."""
        found = {
            number: [one for one in task["annotations"] if one["completed_by"] == SERVICE]
            for number, task in self.tasks.items()
        }
        return {number: own for number, own in found.items() if own}

    def _tick(self) -> str:
        self._now += timedelta(minutes=1)
        return self._now.isoformat().replace("+00:00", "Z")

    def get(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if path == f"/api/projects/{PROJECT}":
            return 200, {"id": PROJECT, "label_config": self.label_config,
                         "created_at": "2026-01-02T03:04:05.678901Z",
                         "model_version": self.model_version}  # fmt: skip
        if path == "/api/tasks":
            size, page = int(query["page_size"][0]), int(query["page"][0])
            tasks = list(self.tasks.values())[(page - 1) * size : page * size]
            shown = [self._listed(task, query["include"][0].split(",")) for task in tasks]
            return (200 if tasks or page == 1 else 404), {
                "tasks": shown, "total": len(self.tasks), "total_annotations": 0,
                "total_predictions": 0,
            }  # fmt: skip
        if path == "/api/current-user/whoami":
            return 200, {"id": SERVICE, "email": "service@example.com"}
        if path == "/api/dm/views":
            return 200, self.views
        if path.startswith("/api/tasks/") and path.endswith("/annotations"):
            return 200, self.tasks[int(path.split("/")[3])]["annotations"]
        return 404, {"detail": "unknown"}

    def _listed(self, task: dict[str, Any], fields: list[str]) -> dict[str, Any]:
        annotations = [one for one in task["annotations"] if not one["was_cancelled"]]
        every = task | {"total_annotations": len(annotations)}
        return {name: every[name] for name in fields if name in every}

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "/api/dm/views":
            self.views.append(body | {"id": next(self._ids)})
            return 201, self.views[-1]
        task = int(path.split("/")[3])
        unique = body.get("unique_id")
        if any(one.get("unique_id") == unique for one in self.tasks[task]["annotations"]):
            return 409, {"detail": "an annotation with this unique id exists"}
        return 201, self.annotate(task, SERVICE, body)

    def patch(self, path: str, body: Any) -> tuple[int, Any]:
        if path == f"/api/projects/{PROJECT}":
            self.model_version = body["model_version"]
            return 200, {"id": PROJECT}
        number = int(path.rsplit("/", maxsplit=1)[-1])
        [own] = [one for one in self.views if one["id"] == number]
        own |= body
        return 200, own

    def delete(self, path: str) -> tuple[int, Any]:
        number = int(path.rsplit("/", maxsplit=1)[-1])
        for task in self.tasks.values():
            for one in list(task["annotations"]):
                if one["id"] == number:
                    task["annotations"].remove(one)
                    return 204, None
        return 404, {"detail": "unknown"}

    def write(self, do: Any) -> tuple[int, Any]:
        """Do it, unless Label Studio has come to refuse."""
        if self.refuse_after is not None and self.writes >= self.refuse_after:
            return 403, {"detail": "not allowed any more"}
        self.writes += 1
        answer: tuple[int, Any] = do()
        return answer


class _Handler(BaseHTTPRequestHandler):
    server: ReviewedProject

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        self._answer(*self.server.get(split.path.rstrip("/"), parse_qs(split.query)))

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path.rstrip("/"), self._body()
        self._answer(*self.server.write(lambda: self.server.post(path, body)))

    def do_PATCH(self) -> None:
        path, body = urlsplit(self.path).path.rstrip("/"), self._body()
        self._answer(*self.server.write(lambda: self.server.patch(path, body)))

    def do_DELETE(self) -> None:
        path = urlsplit(self.path).path.rstrip("/")
        self._answer(*self.server.write(lambda: self.server.delete(path)))

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, status: int, body: Any) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[ReviewedProject]:
    """Serve an empty project on a free port."""
    with ReviewedProject() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
