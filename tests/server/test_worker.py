"""What the worker's main loop does with connections, by a clock that the test turns."""

import logging
import selectors
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from gunicorn.config import Config

from grounded_labeler.server import worker as worker_module
from grounded_labeler.server.refusals import REFUSAL
from grounded_labeler.server.worker import Worker

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

MAX_BODY = 200_000
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"
KEEP_UP = 524_288
KEEPS_ALIVE = SimpleNamespace(cancelled=lambda: False, exception=lambda: None, result=lambda: True)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def refuse(environ: "WSGIEnvironment", start: "StartResponse") -> list[bytes]:
    """What the worker calls to have a request refused."""
    start(f"{environ[REFUSAL].status} {environ['PATH_INFO']}", [("Content-Length", "0")])
    return []


class Loop:
    """A worker without threads, its listener, and the time of its clock."""

    def __init__(self, max_body_bytes: int) -> None:
        self.now = 0.0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.handed_over: list[object] = []
        kind = type("Worker", (Worker,), {"max_body_bytes": max_body_bytes})
        log = logging.getLogger(__name__)
        self.worker = kind(0, 0, [self.listener], None, 30, Config(), log)
        self.worker.wsgi = refuse
        self.worker.poller = selectors.DefaultSelector()
        self.worker.enqueue_req = self.handed_over.append

    def connect(self, sent: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.listener.getsockname(), 60)
        self.worker.accept(self.listener)
        self.send(client, sent)
        return client

    def send(self, client: socket.socket, sent: bytes) -> None:
        """Send as fast as the worker reads."""
        for at in range(0, len(sent), 10_000):
            client.sendall(sent[at : at + 10_000])
            self.worker.wait_for_and_dispatch_events(timeout=60)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.worker.murder_keepalived()

    def close(self) -> None:
        self.listener.close()
        self.worker.poller.close()
        self.worker.tmp.close()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    loop = Loop(10_000_000)
    monkeypatch.setattr(worker_module, "time", SimpleNamespace(monotonic=lambda: loop.now))
    yield loop
    loop.close()


def test_a_request_has_its_time_from_its_first_byte_on(loop: Loop) -> None:
    with loop.connect() as client:
        loop.wait(29)
        loop.send(client, HEAD[:20])
        loop.wait(29)
        loop.send(client, HEAD[20:25])
        assert loop.worker.nr_conns == 1
        loop.wait(1)
        assert client.recv(1000).startswith(b"HTTP/1.1 408 /predict\r\n")


def test_who_sends_nothing_is_closed_without_a_word(loop: Loop) -> None:
    with loop.connect() as client:
        loop.wait(30)
        assert client.recv(1000) == b""
    assert loop.worker.nr_conns == 0


def test_a_large_request_has_longer_as_long_as_it_keeps_coming(loop: Loop) -> None:
    head = HEAD.replace(b"200000", b"9000000")
    with loop.connect(head) as client:
        for _ in range(4):
            loop.wait(29)
            loop.send(client, b"a" * KEEP_UP)
        loop.wait(29)
        loop.send(client, b"a" * (KEEP_UP - 1))
        assert loop.worker.nr_conns == 1
        loop.wait(1)
        assert client.recv(1000).startswith(b"HTTP/1.1 408 /predict\r\n")


def test_who_was_refused_is_read_for_a_moment_and_then_closed(loop: Loop) -> None:
    with loop.connect(b"POST / HTTP/1.1\r\nContent-Length: a\r\n\r\n") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 400 /\r\n")
        loop.send(client, b"more")
        loop.wait(1)
        assert loop.worker.nr_conns == 1
        loop.wait(1)
        assert loop.worker.nr_conns == 0


def test_for_a_new_connection_the_one_that_waits_longest_is_told_and_closed(loop: Loop) -> None:
    loop.worker.worker_connections = 2 + loop.worker.cfg.threads
    with loop.connect(HEAD) as first, loop.connect() as second, loop.connect() as third:
        assert first.recv(1000).startswith(b"HTTP/1.1 503 /predict\r\n")
        with loop.connect():
            assert second.recv(1000) == b""  # it has asked for nothing
            loop.send(third, b"\n")
            assert loop.worker.nr_conns == 2


def test_who_leaves_in_the_middle_of_a_request_is_noted_and_closed(loop: Loop) -> None:
    refused: list[int] = []

    def note(environ: "WSGIEnvironment", start: "StartResponse") -> list[bytes]:
        refused.append(environ[REFUSAL].status)
        return refuse(environ, start)

    loop.worker.wsgi = note
    for sent, noted in ((b"", []), (HEAD, [499])):
        client = loop.connect(sent)
        client.shutdown(socket.SHUT_WR)
        loop.worker.wait_for_and_dispatch_events(timeout=60)
        client.close()
        assert refused == noted
        assert loop.worker.nr_conns == 0


def test_between_requests_there_is_less_time(loop: Loop) -> None:
    with loop.connect(GET) as client:
        loop.worker.finish_request(loop.handed_over[0], KEEPS_ALIVE)
        loop.wait(1)
        assert loop.worker.nr_conns == 1
        loop.wait(1)  # gunicorn's own, 2 s
        assert client.recv(1000) == b""


def test_half_a_request_that_came_with_the_one_before_has_its_time(loop: Loop) -> None:
    with loop.connect(GET + HEAD) as client:
        loop.worker.finish_request(loop.handed_over[0], KEEPS_ALIVE)
        loop.wait(29)
        assert loop.worker.nr_conns == 1
        loop.wait(1)
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_large_requests_take_no_more_memory_than_four_of_the_largest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = Loop(MAX_BODY)
    monkeypatch.setattr(worker_module, "time", SimpleNamespace(monotonic=lambda: loop.now))
    most = b"a" * (MAX_BODY - 1)
    clients = [loop.connect(HEAD + most) for _ in range(4)]
    refused = loop.connect(HEAD + most)
    assert refused.recv(1000).startswith(b"HTTP/1.1 503 /predict\r\n")
    small = loop.connect(HEAD.replace(b"200000", b"60000") + b"a" * 60_000)
    assert len(loop.handed_over) == 1
    # One that is at a thread takes as much as before, until it has been answered.
    loop.send(clients[0], b"a")
    assert len(loop.handed_over) == 2
    clients.append(loop.connect(HEAD + most))
    assert clients[-1].recv(1000).startswith(b"HTTP/1.1 503 ")
    loop.worker.finish_request(loop.handed_over[1], KEEPS_ALIVE)
    clients.append(loop.connect(HEAD + most + b"a"))
    assert len(loop.handed_over) == 3
    for client in [*clients, refused, small]:
        client.close()
    loop.close()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("protocol", "uwsgi", "HTTP/1.1 only"),
        ("http_protocols", "h2,h1", "HTTP/1.1 only"),
        ("proxy_protocol", "v2", "version 1 only"),
        ("proxy_protocol", "auto", "version 1 only"),
    ],
)
def test_other_protocols_are_refused_with_a_sentence(name: str, value: str, said: str) -> None:
    config = Config()
    Worker.check_config(config, logging.getLogger(__name__))
    config.set(name, value)
    with pytest.raises(SystemExit, match=said):
        Worker.check_config(config, logging.getLogger(__name__))
