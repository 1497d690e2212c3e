"""Whether the other end of a connection is still there."""

import socket
import struct
from concurrent.futures import ThreadPoolExecutor

from grounded_labeler.server.disconnect import caller_is_gone


def test_a_caller_that_waits_closes_or_sends_on() -> None:
    here, there = socket.socketpair()
    with here, there:
        is_gone = caller_is_gone(here)
        assert not is_gone()
        there.sendall(b"GET /next")  # a client may send its next request early
        assert not is_gone()
        assert here.recv(3) == b"GET"  # nothing was taken away
        there.close()
        assert is_gone()  # though there is more to read


def test_a_connection_with_a_timeout_is_not_waited_for() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(30)
        assert not caller_is_gone(here)()


def test_a_reset_connection_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = socket.create_connection(server.getsockname())
        here, _ = server.accept()
        with here:
            is_gone = caller_is_gone(here)
            there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            there.close()
            assert is_gone()


def test_many_threads_may_ask_at_once() -> None:
    here, there = socket.socketpair()
    with here, there, ThreadPoolExecutor(8) as pool:
        is_gone = caller_is_gone(here)
        answers = pool.map(lambda _: [is_gone() for _ in range(5000)], range(8))
        assert not any(any(some) for some in answers)


def test_a_server_that_does_not_tell() -> None:
    assert not caller_is_gone(None)()
