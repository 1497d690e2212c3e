"""Clients that send half a request, or a byte now and then, or do not take what they asked for."""

import json
import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from grounded_labeler.demo.process import free_port, running
from tests.helpers.serving import (
    BOXES,
    ECHO,
    GUNICORN,
    KINDS,
    PATIENCE_S,
    Server,
    assert_right,
    is_running,
    send,
    served,
    wait_until,
)

pytestmark = pytest.mark.slow

CLIENTS = 200  # ten times as many as the service has threads
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
HALVES = {
    "nothing": b"",
    "half a head": HEAD[:-20],
    "half a body": HEAD + b"Content-Length: 1000\r\n\r\n{",
    "half a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n{",
}
APP = "tests.helpers.patience:app"


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It waits longer for half a request than any test does."""
    folder = tmp_path_factory.mktemp("patient")
    with served(folder, APP, ARRIVAL_S=str(10 * PATIENCE_S)) as server:
        yield server


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("impatient"), APP, ARRIVAL_S="1") as server:
        yield server


def connect(server: Server, sent: bytes) -> socket.socket:
    where = urlsplit(server.url)
    connection = socket.create_connection((where.hostname or "", where.port or 0), PATIENCE_S)
    connection.sendall(sent)
    return connection


@contextmanager
def many(server: Server, sent: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect(server, sent)) for _ in range(CLIENTS)]


def is_open(connection: socket.socket) -> bool:
    """Whether the service has neither answered nor hung up."""
    return not select.select([connection], [], [], 0)[0]


def rest(connection: socket.socket) -> bytes:
    """All that the service still sends before it hangs up."""
    received = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(65_536):
            received += data
    return received


@pytest.mark.parametrize("half", HALVES)
def test_those_who_send_half_a_request_stop_nobody_else(patient: Server, half: str) -> None:
    with many(patient, HALVES[half]) as connections:
        for kind in KINDS:
            assert patient.get("/health").status_code == 200
            assert_right(patient.ask(kind, kind), kind)
        assert all(map(is_open, connections))  # for all this time


def test_those_who_send_a_byte_now_and_then_stop_nobody_else(patient: Server) -> None:
    enough = threading.Event()

    def drip(connections: list[socket.socket]) -> None:
        while not enough.wait(0.2):
            for connection in connections:
                connection.sendall(b"a")

    with many(patient, HALVES["half a body"]) as connections:
        dripping = threading.Thread(target=drip, args=[connections])
        dripping.start()
        try:
            for kind in KINDS:
                assert patient.get("/health").status_code == 200
                assert_right(patient.ask(kind, kind), kind)
            assert all(map(is_open, connections))
        finally:
            enough.set()
            dripping.join()


def test_a_request_may_come_in_pieces_and_with_the_next_one(patient: Server) -> None:
    body = json.dumps({"project": "1", "schema": BOXES}).encode()
    counted = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    chunks = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    setup = HEAD.replace(b"/predict", b"/setup")
    last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    everything = setup + counted + setup + chunks + setup + counted + last
    with connect(patient, b"") as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(everything), 100):
            connection.sendall(everything[at : at + 100])
        answer = rest(connection)
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert answer.count(b'"model_version"') == 3


def test_a_socket_of_unix_and_the_line_of_a_proxy(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    command = [*ECHO, "--bind", f"unix:{path}", "--proxy-protocol", "v1"]
    sent = b"PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\n" + HEAD + b"Connection: close\r\n\r\n"
    with (
        running(
            command,
            os.environ | {"DETECTOR": "demo", "SEGMENTER": "demo"},
            tmp_path / "log",
            path.exists,
        ),
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.settimeout(PATIENCE_S)
        connection.connect(str(path))
        connection.sendall(sent)
        assert rest(connection).startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_wants_to_be_told_to_go_on_is_told_once(patient: Server) -> None:
    body = json.dumps({"project": "1", "schema": BOXES}).encode()
    head = HEAD.replace(b"/predict", b"/setup") + b"Connection: close\r\n"
    head += b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    with connect(patient, head) as connection:
        assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert rest(connection).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 67108865\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n4000001\r\n{"],
    ids=["a length", "a chunk"],
)
def test_a_body_that_is_too_large_is_not_waited_for(patient: Server, body: bytes) -> None:
    # It must not be taken for a request, either.
    following = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(patient, HEAD + body + following) as connection:
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert b'"error":' in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nlong\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 9000,
        HEAD + b"X: " + b"x" * 9000 + b"\r\n\r\n",
        HEAD + b"X: " + b"x" * 70_000,
        b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
    ],
    ids=[
        "a length of 5000 digits",
        "a length below 0",
        "two lengths",
        "a length and chunks",
        "another coding",
        "a chunk without a number",
        "a chunk with a number without end",
        "a long header",
        "a head without end",
        "a long request line",
        "nothing",
        "something else",
    ],
)
def test_a_request_whose_end_cannot_be_told_is_refused_at_once(
    patient: Server, sent: bytes
) -> None:
    with connect(patient, sent) as connection:
        answer = rest(connection)
    assert re.match(rb"HTTP/1.1 (4\d\d|501) ", answer)
    assert len(re.findall(rb"HTTP/1.1 \d", answer)) == 1
    assert len(patient.workers) == 1
    assert patient.get("/health").status_code == 200


@pytest.mark.parametrize("half", HALVES)
def test_those_who_send_half_a_request_are_cut_off(impatient: Server, half: str) -> None:
    with many(impatient, HALVES[half]) as connections:
        answers = list(map(rest, connections))
    if half == "nothing":
        assert answers == [b""] * CLIENTS
    else:
        for answer in answers:
            assert answer.startswith(b"HTTP/1.1 408 The request did not arrive")
    assert impatient.get("/health").status_code == 200
    assert len(impatient.workers) == 1


def test_those_who_send_a_byte_now_and_then_are_cut_off(impatient: Server) -> None:
    with many(impatient, HALVES["half a body"]) as connections:
        left = set(connections)
        end = time.monotonic() + PATIENCE_S
        while left:
            assert time.monotonic() < end
            for connection in list(left):
                try:
                    connection.sendall(b"a")
                except ConnectionError:
                    left.remove(connection)
            time.sleep(0.05)
    assert impatient.get("/health").status_code == 200


def test_those_who_do_not_hang_up_stop_nobody_else(impatient: Server) -> None:
    """gunicorn's own main loop waits for each."""
    last = b"GET /health HTTP/1.0\r\n\r\n"
    with many(impatient, last) as connections:
        assert impatient.get("/health").status_code == 200
        for connection in connections:
            assert connection.recv(15) == b"HTTP/1.0 200 OK"


def test_more_connections_than_there_may_be_stop_nobody_else(tmp_path: Path) -> None:
    options = {"ARRIVAL_S": str(10 * PATIENCE_S), "GUNICORN_CMD_ARGS": "--worker-connections 50"}
    with served(tmp_path, APP, **options) as server, many(server, HALVES["half a body"]):
        for kind in KINDS:
            assert server.get("/health").status_code == 200
            assert_right(server.ask(kind, kind), kind)
        assert server.log.count("More connections than") == 1


def test_told_to_stop_it_waits_for_none_that_sent_half_a_request(impatient: Server) -> None:
    """The last one of this service."""
    with many(impatient, HALVES["half a body"]), many(impatient, HALVES["nothing"]):
        os.kill(impatient.master, signal.SIGTERM)
        wait_until(lambda: not any(map(is_running, [impatient.master, *impatient.workers])))
    assert "Traceback" not in impatient.log


def test_under_tls_half_a_handshake_and_half_a_request_stop_nobody_else(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    trusting = ssl.create_default_context(cafile=str(cert))
    port = free_port()
    url = f"https://127.0.0.1:{port}"
    command = [*GUNICORN, "--bind", f"127.0.0.1:{port}", "--certfile", str(cert)]
    command += ["--keyfile", str(key), APP]
    environ = os.environ | {"DETECTOR": "demo", "SEGMENTER": "demo"}
    environ |= {"MODEL_DIR": str(tmp_path), "ARRIVAL_S": str(10 * PATIENCE_S)}

    def answers() -> bool:
        try:
            return send("GET", f"{url}/ready", verify=str(cert)).ok
        except requests.ConnectionError:
            return False

    with running(command, environ, tmp_path / "log", answers), ExitStack() as stack:
        server = Server(url, tmp_path)
        hello = ssl.MemoryBIO()
        with suppress(ssl.SSLWantReadError):
            trusting.wrap_bio(ssl.MemoryBIO(), hello).do_handshake()
        half = hello.read()[:40]
        silent = [stack.enter_context(connect(server, half)) for _ in range(CLIENTS)]
        for _ in range(CLIENTS):
            connection = trusting.wrap_socket(connect(server, b""), server_hostname="127.0.0.1")
            stack.enter_context(connection).sendall(HALVES["half a body"])
        large = {"project": "1", "schema": BOXES, "extra": "x" * 3_000_000}
        for _ in range(3):
            assert send("GET", f"{url}/health", verify=str(cert)).ok
            assert send("POST", f"{url}/setup", json=large, verify=str(cert)).ok
        assert all(map(is_open, silent))
