"""What is written to a Label Studio that fails for a while arrives, and arrives once."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from tenacity import wait_none

from grounded_labeler.label_studio_api import client as client_module
from grounded_labeler.label_studio_api.client import LabelStudioError
from grounded_labeler.label_studio_api.project import Project

VERSION = "demo-1"


class Failing(ThreadingHTTPServer):
    """The predictions' part of Label Studio's API; the next writes go as `ends` says.

    A status is answered without doing anything; "lost" does it and cuts the connection.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kept: list[dict[str, Any]] = []
        self.ends: list[int | str] = []
        self.writes = 0
        self.page: bytes | None = None  # what another service answers, whatever it is asked
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def tasks(self) -> list[int]:
        return [one["task"] for one in self.kept]


class _Handler(BaseHTTPRequestHandler):
    server: Failing

    def do_GET(self) -> None:
        if self._is_another():
            return
        [task] = parse_qs(urlsplit(self.path).query)["task"]
        self._answer(200, [one for one in self.server.kept if one["task"] == int(task)])

    def do_POST(self) -> None:
        if self._is_another():
            return
        assert self.path == "/api/projects/7/import/predictions"
        new = self._body()

        def keep() -> None:
            for one in new:
                self.server.kept.append({"id": len(self.server.kept) + 1} | one)

        self._write(keep, {"created": len(new)})

    def _is_another(self) -> bool:
        if self.server.page is None:
            return False
        self.server.paths.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.page)
        return True

    def do_PATCH(self) -> None:
        number = int(self.path.strip("/").split("/")[-1])
        self._write(lambda: self.server.kept[number - 1].update(self._body()), {"id": number})

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _write(self, do: Any, answer: Any) -> None:
        self.server.writes += 1
        end = self.server.ends.pop(0) if self.server.ends else 200
        if end in {200, "lost"}:
            do()
        if end == "lost":
            self.connection.close()
            return
        self._answer(int(end), answer if end == 200 else {"detail": "not now"})

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def label_studio() -> Iterator[Failing]:
    with Failing() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def project(label_studio: Failing, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(client_module, "wait_exponential_jitter", lambda *_: wait_none())
    return Project(label_studio.url, "token", 7)


def prediction(text: str) -> dict[str, Any]:
    return {"result": [{"said": text}], "score": 0.5, "model_version": VERSION}


@pytest.mark.parametrize(
    ("ends", "writes"),
    [
        ([], 1),
        ([429, 429, 503], 4),
        ([500], 2),
        (["lost"], 1),  # looked at before it is sent again: it is there
        ([502, "lost"], 2),
    ],
)
def test_predictions_arrive_once(
    project: Project, label_studio: Failing, ends: list[int | str], writes: int
) -> None:
    label_studio.ends = ends
    project.add({1: prediction("a"), 3: prediction("b")}, VERSION)
    assert label_studio.tasks() == [1, 3]
    assert label_studio.writes == writes


def test_what_is_refused_is_not_sent_again(project: Project, label_studio: Failing) -> None:
    label_studio.ends = [403, 200]
    with pytest.raises(LabelStudioError, match="403"):
        project.add({1: prediction("a")}, VERSION)
    assert label_studio.writes == 1


def test_what_never_passes_ends_with_a_sentence(
    project: Project, label_studio: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_PATIENCE_S", 0.2)
    label_studio.ends = [503] * 10_000
    with pytest.raises(LabelStudioError, match="503"):
        project.add({1: prediction("a")}, VERSION)
    label_studio.shutdown()
    label_studio.server_close()
    with pytest.raises(LabelStudioError, match="does not answer"):
        project.add({1: prediction("a")}, VERSION)


def test_nothing_is_asked_where_there_is_nothing_to_keep(
    project: Project, label_studio: Failing
) -> None:
    project.add({}, VERSION)
    assert label_studio.writes == 0


def test_a_prediction_is_put_in_the_place_of_that_of_its_version(
    project: Project, label_studio: Failing
) -> None:
    project.add({1: prediction("old"), 2: prediction("old")}, VERSION)
    label_studio.kept.append({"id": 3, "task": 1, "result": [], "model_version": "of another"})
    label_studio.ends = [503]
    project.replace({1: prediction("new"), 4: prediction("first")}, VERSION)
    said = [(one["task"], one["model_version"], one["result"]) for one in label_studio.kept]
    assert said == [
        (1, VERSION, [{"said": "new"}]),
        (2, VERSION, [{"said": "old"}]),
        (1, "of another", []),
        (4, VERSION, [{"said": "first"}]),
    ]


def test_a_token_that_has_expired_is_one_sentence() -> None:
    expired = jwt.encode({"exp": 1, "token_type": "refresh"}, "0" * 32)
    with pytest.raises(LabelStudioError, match=r"refused the token: 401.*expired"):
        Project("http://127.0.0.1:9", expired, 7)


@pytest.mark.parametrize("token", ["legacy", "personal"])
def test_what_is_no_label_studio_is_said(label_studio: Failing, token: str) -> None:
    if token == "personal":
        token = jwt.encode({"exp": 2**32, "token_type": "refresh"}, "0" * 32)
    label_studio.page = b"<!DOCTYPE html><title>Another service</title>"
    with pytest.raises(LabelStudioError, match="is no Label Studio: check LABEL_STUDIO_URL"):
        Project(label_studio.url, token, 7).label_config()


def test_a_token_is_refreshed_under_the_path_of_label_studio(label_studio: Failing) -> None:
    token = jwt.encode({"exp": 2**32, "token_type": "refresh"}, "0" * 32)
    label_studio.page = b"nothing"
    with pytest.raises(LabelStudioError):
        Project(f"{label_studio.url}/ls/", token, 7).label_config()
    assert label_studio.paths == ["/ls/api/token/refresh/"]


def test_a_token_that_no_header_can_hold_is_not_repeated(label_studio: Failing) -> None:
    with pytest.raises(LabelStudioError) as error:
        Project(label_studio.url, "sekrit\nsekrit", 7).label_config()
    assert "the token has characters that no token has" in str(error.value)
    assert "sekrit" not in str(error.value)
