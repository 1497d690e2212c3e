"""Requests that do not arrive, or cannot be read, are answered, logged and counted as others."""

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from gunicorn.config import Config
from hypothesis import given
from hypothesis import strategies as st

from grounded_labeler.errors import Refused
from grounded_labeler.server.observation import observe_requests
from grounded_labeler.server.refusals import answer
from tests.helpers.serving import PATIENCE_S, Server, served, wait_until

LOGGER = "grounded_labeler.server.observation"
HEAD = b"POST /predict?token=secret HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers, which add up what they counted."""
    folder = tmp_path_factory.mktemp("refusing")
    app, options = (
        "tests.helpers.patience:app",
        {"WORKERS": "2", "LABEL_STUDIO_URL": "http://127.0.0.1:1"},
    )
    with served(
        folder, app, LOG_FORMAT="json", ARRIVAL_S="1", MAX_BODY_BYTES="100000", **options
    ) as server:
        yield server


def access_lines(server: Server) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["logger"] == LOGGER]


def figure(server: Server, name: str, **labels: str) -> float:
    wanted = ",".join(f'{key}="{value}"' for key, value in labels.items())
    found = re.search(
        rf"^grounded_labeler_{name}{{{re.escape(wanted)}}} (\S+)$",
        server.get("/metrics").text, re.M,
    )  # fmt: skip
    return float(found[1]) if found else 0


@dataclass(frozen=True)
class Case:
    sent: bytes
    status: int
    cause: str
    method: str = "POST"
    route: str = "/predict"
    path: str | None = None  # in the log, where there is no route


UNKNOWN = {"method": "-", "route": "other", "path": "-"}
CASES = {
    "half a line": Case(HEAD[:12], 408, "refused", **UNKNOWN),
    "half a head": Case(HEAD, 408, "refused"),
    "half a body": Case(HEAD + b"Content-Length: 9\r\n\r\n{", 408, "refused"),
    "half a chunk": Case(CHUNKED + b"9\r\n{", 408, "refused"),
    "half a probe": Case(b"GET /health HTTP/1.1\r\n", 408, "refused", "GET", "/health"),
    "half of what is no route": Case(
        b"GET /wp%20admin?a HTTP/1.1\r\n", 408, "refused", "GET", "other", "/wp admin"
    ),
    "half of an absolute address": Case(
        b"GET http://x/health HTTP/1.1\r\n", 408, "refused", "GET", "/health"
    ),
    "a wrong method": Case(b"PUT /health HTTP/1.1\r\n", 408, "refused", "PUT", "other", "/health"),
    "two lengths": Case(
        HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400, "bad_request"
    ),
    "no chunk": Case(CHUNKED + b"long\r\n", 400, "bad_request"),
    "a chunk without an end": Case(CHUNKED + b"1\r\n{XX0\r\n\r\n", 400, "bad_request"),
    "a chunk with a bad extension": Case(
        CHUNKED + b'2;a="\r\n{}\r\n0\r\n\r\n', 400, "bad_request"
    ),
    "a bad trailer": Case(CHUNKED + b"2\r\n{}\r\n0\r\n(: b\r\n\r\n", 400, "bad_request"),
    "a large chunk": Case(CHUNKED + b"186a1\r\n", 413, "too_large"),
    "a large length": Case(HEAD + b"Content-Length: 100001\r\n\r\n", 413, "too_large"),
    "another coding": Case(HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501, "refused"),
    "a head without end": Case(HEAD + b"X: " + b"x" * 70_000, 431, "refused"),
    "a long header": Case(HEAD + b"X: " + b"x" * 9_000 + b"\r\n\r\n", 431, "refused"),
    "a long line": Case(
        b"GET /health?" + b"x" * 5_000 + b" HTTP/1.1\r\n\r\n", 414, "refused", "GET", "/health"
    ),
    "another version": Case(b"GET /health HTTP/3.0\r\n\r\n", 400, "bad_request", "GET", "/health"),
    "another expectation": Case(HEAD + b"Expect: wonders\r\n\r\n", 417, "refused"),
    "no header": Case(HEAD + b"no header\r\n\r\n", 400, "bad_request"),
    "nothing": Case(b"\r\n\r\n", 400, "bad_request", **UNKNOWN),
    "something else": Case(b"\x16\x03\x01\r\n\r\n", 400, "bad_request", **UNKNOWN),
}  # fmt: skip


def connect(server: Server, sent: bytes) -> socket.socket:
    where = urlsplit(server.url)
    connection = socket.create_connection((where.hostname or "", where.port or 0), PATIENCE_S)
    connection.sendall(sent)
    return connection


def everything(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65_536):
        received += data
    return received


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_refusal_has_the_form_of_every_answer(server: Server, name: str) -> None:
    case = CASES[name]

    def figures() -> list[float]:
        return [
            figure(server, "requests_total", route=case.route, status=str(case.status)),
            figure(server, "request_seconds_count", route=case.route),
            figure(server, "failures_total", cause=case.cause),
        ]

    before = figures()
    with connect(server, case.sent) as connection:
        head, _, body = everything(connection).partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    assert first.startswith(f"HTTP/1.1 {case.status} ")
    [sentence] = json.loads(body).values()
    assert first == f"HTTP/1.1 {case.status} {sentence}"  # Label Studio shows nothing else
    named = dict(header.split(": ", 1) for header in headers)
    assert named["Connection"] == "close"
    assert named["Content-Type"] == "application/json"
    assert named["Content-Length"] == str(len(body))
    assert "Date" in named
    after = figures()
    assert [new - old for new, old in zip(after, before, strict=True)] in ([1, 1, 1], [1, 2, 1])
    [line] = [one for one in access_lines(server) if one["request_id"] == named["X-Request-ID"]]
    facts = {key: line.get(key) for key in ("method", "route", "path", "status", "bytes")}
    wanted = {"method": case.method, "route": case.route, "path": case.path}
    assert facts == wanted | {"status": case.status, "bytes": len(body)}
    assert line["ms"] >= 0
    assert "secret" not in server.log


@pytest.mark.slow
def test_the_id_that_a_client_gives_is_taken_as_far_as_it_arrives(server: Server) -> None:
    for sent in (
        HEAD + b"X-Request-Id: of-mine:1\r\nX",
        HEAD + b"x-request-id:of-mine:1\r\nno\r\n\r\n",
    ):
        with connect(server, sent) as connection:
            assert b"X-Request-ID: of-mine:1\r\n" in everything(connection)


@pytest.mark.slow
def test_who_asks_for_the_head_gets_no_more(server: Server) -> None:
    with connect(server, b"HEAD /health HTTP/1.1\r\nno header\r\n\r\n") as connection:
        assert everything(connection).endswith(b"\r\n\r\n")


@pytest.mark.slow
def test_who_leaves_before_the_end_of_a_request_is_seen(server: Server) -> None:
    with connect(server, HEAD + b"X-Request-ID: gone-early\r\n"):
        pass
    wait_until(lambda: "gone-early" in [one["request_id"] for one in access_lines(server)])
    [line] = [one for one in access_lines(server) if one["request_id"] == "gone-early"]
    assert (line["method"], line["route"], line["status"]) == ("POST", "/predict", 499)
    assert figure(server, "failures_total", cause="client_disconnected") == 1


@pytest.mark.slow
def test_who_sends_nothing_is_no_request(server: Server) -> None:
    before = len(access_lines(server))
    with connect(server, b"") as connection:
        assert everything(connection) == b""
    assert len(access_lines(server)) == before


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    app = Flask(__name__)
    observe_requests(app)

    @app.errorhandler(Refused)
    def refused(error: Refused) -> Response:
        return Response(status=error.status)

    return app.test_client()


@given(st.one_of(st.binary(), st.binary().map(lambda rest: b"GET /" + rest + b"\r\n\r\n")))
def test_whatever_arrived_is_answered(client: FlaskClient, head: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        answer(client.application, theirs, Config(), head, Refused(408, "Too late."))
        assert ours.recv(65_536).startswith(b"HTTP/1.1 408 ")
