"""Names are looked up in threads, of which there are never too many."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from grounded_labeler.images.resolving import Resolver, look_up

ADDRESS = "93.184.216.34"


def no_time() -> float:
    raise TimeoutError


class Names:
    """A name server that answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_asked = threading.Semaphore(0)
        self.may_answer = threading.Event()

    def look_up(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        self.is_asked.release()
        self.may_answer.wait()
        if host.startswith("no"):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [ADDRESS]


@pytest.fixture
def names() -> Iterator[Names]:
    made = Names()
    yield made
    made.may_answer.set()


def minute() -> float:
    return 60.0


def moment() -> float:
    return 0.01


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "::1"])
def test_addresses_are_not_looked_up(names: Names, host: str) -> None:
    [address] = Resolver(names.look_up).addresses(host, 80, minute)
    assert address in ("127.0.0.1", "::1")
    assert names.asked == []


def test_the_answer(names: Names) -> None:
    names.may_answer.set()
    resolver = Resolver(names.look_up)
    assert resolver.addresses("example.com", 80, minute) == [ADDRESS]
    assert resolver.addresses("example.com", 80, minute) == [ADDRESS]
    assert names.asked == ["example.com"] * 2  # nothing is kept: names change their addresses
    with pytest.raises(socket.gaierror):
        resolver.addresses("nowhere.example", 80, minute)
    with pytest.raises(UnicodeError):
        resolver.addresses("a" * 64 + ".example", 80, minute)


@pytest.mark.parametrize("remaining", [moment, no_time])
def test_a_server_that_says_nothing(names: Names, remaining: Callable[[], float]) -> None:
    with pytest.raises(TimeoutError):
        Resolver(names.look_up).addresses("slow.example", 80, remaining)


def test_threads_left_behind_are_bounded_and_make_room_again(names: Names) -> None:
    resolver = Resolver(names.look_up, max_pending=3)
    for number in range(10):
        with pytest.raises(TimeoutError):
            resolver.addresses(f"{number}.example", 80, moment)
    assert names.asked == ["0.example", "1.example", "2.example"]
    names.may_answer.set()
    assert resolver.addresses("9.example", 80, minute) == [ADDRESS]


def test_callers_that_ask_for_one_name_share_a_thread(names: Names) -> None:
    resolver = Resolver(names.look_up, max_pending=1)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(resolver.addresses, "a.example", 80, minute) for _ in range(8)]
        names.is_asked.acquire()
        other = pool.submit(resolver.addresses, "b.example", 80, minute)
        names.may_answer.set()
        assert [one.result() for one in [*waiting, other]] == [[ADDRESS]] * 9
    assert "b.example" in names.asked


def test_the_system_s_own_answer() -> None:
    assert {"127.0.0.1", "::1"} >= set(look_up("localhost", 80)) != set()
