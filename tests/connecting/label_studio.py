"""A stand-in for what `connect` and `doctor` ask of Label Studio 1.23.2, with its own sentences."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.serving import make_server

from tests.preannotate.label_studio_server import Answer, Project

SERVICE = "http://192.168.1.5:9090"

# As Label Studio 1.23.2 says them.
BLOCKED = "URL resolves to a reserved network address (block: 192.168.0.0/16)"
NO_HEALTH = (
    "Can't connect to ML backend {url}, health check failed. Make sure it is up and your firewall "
    'is properly configured. <a href="https://labelstud.io/guide/ml.html">Learn more</a> about how '
    "to set up an ML backend. Additional info: HTTPConnectionPool: Connection refused"
)
UNTRUSTED = NO_HEALTH.replace(
    "Connection refused",
    "Max retries exceeded with url: /health (Caused by SSLError(SSLCertVerificationError(1, '[SSL: "
    "CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate')))",
)
NO_LOGIN = (
    "Able to connect to ML Server, but authentication parameters were either not provided or are "
    "incorrect."
)
NO_BACKEND = (
    "Successfully connected to {url} but it doesn't look like a valid ML backend. Reason: 400 "
    "Client Error: The label config has no labels for url: {url}/setup."
)
LEGACY_OFF = (
    "Authentication token no longer valid: legacy token authentication has been disabled for this "
    "organization"
)
BREAKS = (
    "Created annotations are incompatible with provided labeling schema, we found:\n"
    "3 with from_name=cats, to_name=image, type=choices"
)


def refusal(status: int, detail: str) -> Answer:
    """An error of Label Studio's API."""
    return status, {"id": "0c", "status_code": status, "version": "1.23.2", "detail": detail,
                    "exc_info": None}  # fmt: skip


def invalid(*sentences: str) -> Answer:
    """What it answers to what its serializers refuse."""
    status, body = refusal(400, "Validation error")
    return status, body | {"validation_errors": {"non_field_errors": list(sentences)}}


@dataclass
class ConnectableProject(Project):
    """`refusals` maps the beginning of a path to the answer to everything there.

    `service` answers interactive requests with the results it returns; `asked` are these requests.
    """

    backends: list[dict[str, Any]] = field(default_factory=list)
    refusals: dict[str, Answer] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    storages: list[dict[str, Any]] = field(default_factory=list)
    service: Callable[[dict[str, Any]], Any] = lambda _: {"data": {"result": []}}

    def _refusal(self, path: str) -> Answer | None:
        every = (answer for start, answer in self.refusals.items() if path.startswith(start))
        return next(every, None)

    def get(self, path: str, query: dict[str, list[str]]) -> Answer:
        if (refused := self._refusal(f"GET {path}")) is not None:
            return refused
        others: dict[str, Any] = {
            "/api/ml": self.backends,
            "/api/storages": self.storages,
            "/api/version": {"label-studio-os-package": {"version": "1.23.2"}},
        }
        if path in others:
            return 200, others[path]
        if path == "/api/tasks":
            return self._shown(json.loads(query["query"][0]))._page(query)
        return super().get(path, query)

    def _shown(self, wanted: dict[str, Any]) -> Project:
        """The project with the tasks alone that the data manager shows for a query."""
        tasks = self.tasks
        if wanted.get("ordering") == ["-tasks:id"]:
            tasks = tasks[::-1]
        for item in wanted.get("filters", {}).get("items", ()):
            assert (item["filter"], item["operator"]) == ("filter:tasks:data.image", "contains")
            tasks = [task for task in tasks if item["value"] in task["data"]["image"]]
        return replace(self, tasks=tasks)

    def post(self, path: str, body: Any) -> Answer:
        if (refused := self._refusal(f"POST {path}")) is not None:
            return refused
        if path == f"/api/projects/{self.number}/validate":
            return 200, {"config_essential_data_has_changed": True}
        if path == "/api/ml":
            self.backends.append({"id": len(self.backends) + 1} | body)
            return 201, self.backends[-1]
        if path.endswith("/interactive-annotating"):
            self.asked.append(body)
            return 200, self.service(body)
        return super().post(path, body)

    def patch(self, path: str, body: Any) -> Answer:
        if (refused := self._refusal(f"PATCH {path}")) is not None:
            return refused
        if path.startswith("/api/ml/"):
            number = int(path.rsplit("/", maxsplit=1)[-1])
            own = next(one for one in self.backends if one["id"] == number)
            own |= body
            return 200, own
        if "label_config" in body:
            self.written.append(body["label_config"])
        return super().patch(path, body)


@dataclass
class StandingService(Project):
    """A service that answers /ready and /health so, on the server of a project."""

    ready: Answer = (200, {"status": "READY"})
    health: Answer = (404, None)

    def get(self, path: str, query: dict[str, list[str]]) -> Answer:
        return {"/ready": self.ready, "/health": self.health}[path]


@contextmanager
def serving(client: FlaskClient, tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """The service of a client, on loopback; `tls` is a certificate and its key."""
    pair = None if tls is None else (str(tls[0]), str(tls[1]))
    server = make_server("127.0.0.1", 0, client.application, ssl_context=pair)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http{'' if tls is None else 's'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
