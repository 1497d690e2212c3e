"""Connections to addresses that were checked, cut off when the time is over."""

import ipaddress
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

import httpcore

from grounded_labeler.errors import ImageError
from grounded_labeler.images.resolving import Resolver
from grounded_labeler.images.ssrf import AllowList


class TotalTimeout:
    """Ends everything done within `seconds`, whatever a slow server makes it wait for.

    Timeouts of a socket are per read: a server that sends one byte every ten
    seconds, in the headers or in the body, never runs into them. At the deadline
    the watched sockets are shut down, which wakes any read.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for handle in self._sockets:
                handle.close()
            self._sockets.clear()

    def remaining(self) -> float:
        """Seconds left; TimeoutError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("total time is over")
        return left

    def watch(self, connected: socket.socket) -> None:
        """Shut `connected` down at the deadline."""
        with self._lock:
            # A second handle, because TLS takes the first one's file descriptor away.
            self._sockets.append(connected.dup())
        self.remaining()  # the timer may have fired before the handle was there

    def _cut(self) -> None:
        with self._lock:
            for handle in self._sockets:
                with suppress(OSError):
                    handle.shutdown(socket.SHUT_RDWR)


class CheckedBackend(httpcore.NetworkBackend):
    """Connects to addresses alone that were resolved and checked here."""

    def __init__(
        self, resolver: Resolver, allowed: AllowList, deadline: TotalTimeout, *, trusted: bool
    ) -> None:
        """`trusted` lets any host have a private address."""
        self._resolver, self._allowed = resolver, allowed
        self._deadline, self._trusted = deadline, trusted

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect within `timeout` seconds an address, or within what the deadline leaves."""
        failure: Exception | None = None
        for address in self._addresses(host.strip("[]"), port):
            left = self._deadline.remaining()
            try:
                stream = httpcore.SyncBackend().connect_tcp(
                    address,
                    port,
                    left if timeout is None else min(timeout, left),
                    local_address,
                    socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                self._deadline.watch(stream.get_extra_info("socket"))
                return stream
        raise failure or OSError("the host has no address")

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            names = self._resolver.addresses(host, port, self._deadline.remaining)
        except TimeoutError as error:
            raise ImageError(
                f"The host name {host} of the image was not resolved in time."
            ) from error
        except (OSError, UnicodeError) as error:
            raise ImageError(f"The host name {host} of the image cannot be resolved.") from error
        addresses = [ipaddress.ip_address(name) for name in names]
        if not self._trusted and not self._allowed.admits(host, addresses):
            raise ImageError(
                f"The image's host {host} has a private address: add it to ALLOWED_HOSTS if this "
                f"service may open it, or set LABEL_STUDIO_URL if it is your Label Studio."
            )
        return names
