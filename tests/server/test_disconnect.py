"""Whether the other end of a connection is still there."""

import socket
import struct
from concurrent.futures import ThreadPoolExecutor

from grounded_labeler.server.disconnect import client_disconnected


def test_a_caller_that_waits_closes_or_sends_on() -> None:
    here, there = socket.socketpair()
    with here, there:
        cancelled = client_disconnected(here)
        assert not cancelled()
        there.sendall(b"GET /next")  # a client may send its next request early
        assert not cancelled()
        assert here.recv(3) == b"GET"  # nothing was taken away
        there.close()
        assert cancelled()  # though there is more to read


def test_a_connection_with_a_timeout_is_not_waited_for() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(30)
        assert not client_disconnected(here)()


def test_a_reset_connection_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = socket.create_connection(server.getsockname())
        here, _ = server.accept()
        with here:
            cancelled = client_disconnected(here)
            there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            there.close()
            assert cancelled()


def test_many_threads_may_ask_at_once() -> None:
    here, there = socket.socketpair()
    with here, there, ThreadPoolExecutor(8) as pool:
        cancelled = client_disconnected(here)
        answers = pool.map(lambda _: [cancelled() for _ in range(5000)], range(8))
        assert not any(any(some) for some in answers)


def test_a_server_that_does_not_tell() -> None:
    assert not client_disconnected(None)()
