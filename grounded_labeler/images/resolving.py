"""Host names to addresses within a deadline, of which `getaddrinfo` knows nothing."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

# The addresses of a host for a port; raises OSError or UnicodeError when it has none.
LookUp = Callable[[str, int], list[str]]

_MAX_PENDING = 32


def look_up(host: str, port: int) -> list[str]:
    """Ask the system for a host's addresses, however long it takes."""
    return _addresses(host, port)


class Resolver:
    """Looks names up in threads, which can be left behind when the time is over.

    `max_pending` names are looked up at a time: threads that a name server leaves waiting
    are no more than that. Callers that ask for the same name share a thread.
    """

    def __init__(self, look_up: LookUp = look_up, max_pending: int = _MAX_PENDING) -> None:
        self._look_up = look_up
        self._max_pending = max_pending
        self._pending: dict[tuple[str, int], Future[list[str]]] = {}
        self._changed = threading.Condition()

    def addresses(self, host: str, port: int, remaining: Callable[[], float]) -> list[str]:
        """Find the addresses of `host`, an address or a name.

        `remaining` tells the seconds left and raises TimeoutError when there are none, as this
        does. Raises OSError or UnicodeError when the name has no address.
        """
        with suppress(socket.gaierror):  # a name; addresses need nobody to look them up
            return _addresses(host, port, socket.AI_NUMERICHOST)
        key = (host, port)
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(key), remaining()):
                raise TimeoutError("too many names are being looked up")
            future = self._pending.get(key) or self._begin(key)
        return future.result(remaining())

    def _has_room(self, key: tuple[str, int]) -> bool:
        return key in self._pending or len(self._pending) < self._max_pending

    def _begin(self, key: tuple[str, int]) -> "Future[list[str]]":
        future: Future[list[str]] = Future()
        # A daemon: the end of the process does not wait for a name server.
        threading.Thread(target=self._fill, args=(key, future), name="look-up", daemon=True).start()
        self._pending[key] = future
        return future

    def _fill(self, key: tuple[str, int], future: "Future[list[str]]") -> None:
        found: list[str] = []
        failure: Exception | None = None
        try:
            found = self._look_up(*key)
        except Exception as error:  # noqa: BLE001 - the waiting thread raises it
            failure = error
        with self._changed:  # first, so that a later caller looks the name up again
            del self._pending[key]
            self._changed.notify_all()
        if failure is None:
            future.set_result(found)
        else:
            future.set_exception(failure)


def _addresses(host: str, port: int, flags: int = 0) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
