"""One HTTP exchange that cannot be led astray: checked addresses, deadlines, a byte cap.

urllib3 is used without requests on top of it, for three reasons. One parser
(`urllib3.util.parse_url`) yields the host that is checked, connected to and
named in the request; two parsers that disagree have let others through
(CVE-2026-25960). Nothing is read from .netrc, and a proxy is used for hosts
alone that ALLOWED_HOSTS names: it is the proxy that resolves names then, and
checking them here would mean nothing. And the address that was checked is the
one that is connected to, so a name that changes its address in between (DNS
rebinding) gains nothing.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import Url

from grounded_labeler.errors import ImageError
from grounded_labeler.images.http_response import location_of, read_body
from grounded_labeler.images.proxies import Proxies, Proxy
from grounded_labeler.images.resolving import Resolver
from grounded_labeler.images.ssrf import AllowList, origin_of, redacted

_OK = 200


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


class _Connection(HTTPConnection):
    """Connects with `dial`. `_new_conn` is where urllib3's own SOCKS support steps in, too."""

    dial: Callable[[str, int], socket.socket]

    def _new_conn(self) -> socket.socket:
        return self.dial(self._dns_host, self.port)


class _TLSConnection(_Connection, HTTPSConnection):
    """The same under TLS; certificate and SNI go by the host's name, not its address."""


@dataclass(frozen=True)
class HttpResponse:
    """What came back. `body` is read for status 200 only; `location` is "" without a redirect."""

    status: int
    location: str
    body: bytes


class Client:
    """Sends single requests. Holds no connection and no cookie, so threads may share it.

    Timeouts are in seconds; `max_bytes` caps a body. `proxies` are for hosts that
    `allowed_hosts` names.
    """

    def __init__(
        self,
        *,
        allowed_hosts: Sequence[str],
        max_bytes: int,
        connect_timeout: float,
        read_timeout: float,
        ssl_context: ssl.SSLContext | None = None,
        proxies: Proxies | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._proxies = proxies or Proxies()
        self._resolver = resolver or Resolver()
        self._allowed = AllowList(allowed_hosts)
        self._max_bytes = max_bytes
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        # The system's certificates, or those SSL_CERT_FILE names.
        self._ssl_context = ssl_context or ssl.create_default_context()

    def send(
        self,
        url: Url,
        deadline: TotalTimeout,
        *,
        trusted: bool = False,
        headers: Mapping[str, str] | None = None,
        json_body: bytes | None = None,
    ) -> HttpResponse:
        """GET `url`, or POST `json_body` to it; redirects are not followed.

        `trusted` lets the host have a private address. ImageError when it cannot be
        reached, answers too slowly or with too much.
        """
        proxy = self._proxies.get(url) if self._allowed.names(url.host or "") else None
        connection, target = self._connection(url, proxy)
        connection.dial = lambda name, number: self._dial(
            name, number, deadline, trusted=trusted or proxy is not None
        )
        # Asking for the plain bytes keeps the cap honest: nothing is inflated here.
        sent = {
            "Accept-Encoding": "identity",
            "User-Agent": "grounded-labeler",
            **(proxy.headers if proxy and url.scheme == "http" else {}),
            **(headers or {}),
        }
        if json_body is not None:
            sent["Content-Type"] = "application/json"
        try:
            connection.connect()
            connection.timeout = self._read_timeout
            connection.request(
                "GET" if json_body is None else "POST",
                target,
                body=json_body,
                headers=sent,
                preload_content=False,
                decode_content=False,
            )
            response = connection.getresponse()
            body = read_body(response, url, self._max_bytes) if response.status == _OK else b""
            # A connection cut at the deadline can look like a short but complete body.
            deadline.remaining()
        except (OSError, HTTPError, http.client.HTTPException) as error:
            raise ImageError(_unreachable(url, error, proxy)) from error
        finally:
            connection.close()
        return HttpResponse(response.status, location_of(response), body)

    def _connection(self, url: Url, proxy: Proxy | None) -> tuple[_Connection, str]:
        """A connection that is not open yet, and what to ask for on it."""
        scheme, host, port = origin_of(url)
        host = host.strip("[]")
        first = (proxy.host, proxy.port) if proxy else (host, port)
        if scheme == "https":
            connection = _TLSConnection(*first, ssl_context=self._ssl_context)
            if proxy:
                connection.set_tunnel(host, port, headers=dict(proxy.headers))
            return connection, url.request_uri
        target = f"{scheme}://{url.netloc}{url.request_uri}" if proxy else url.request_uri
        return _Connection(*first), target

    def _dial(
        self, host: str, port: int, deadline: TotalTimeout, *, trusted: bool
    ) -> socket.socket:
        try:
            names = self._resolver.addresses(host, port, deadline.remaining)
        except TimeoutError as error:
            raise ImageError(
                f"The host name {host} of the image was not resolved in time."
            ) from error
        except (OSError, UnicodeError) as error:
            raise ImageError(f"The host name {host} of the image cannot be resolved.") from error
        if not trusted and not self._allowed.admits(host, [ipaddress.ip_address(n) for n in names]):
            raise ImageError(
                f"The image's host {host} has a private address: add it to ALLOWED_HOSTS if this "
                f"service may open it, or set LABEL_STUDIO_URL if it is your Label Studio."
            )
        failure: OSError | None = None
        for name in names:
            try:
                timeout = min(self._connect_timeout, deadline.remaining())
                connected = socket.create_connection((name, port), timeout)
            except OSError as error:
                failure = error
                continue
            # Small requests answered at once: do not wait to fill a packet.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            deadline.watch(connected)
            return connected
        raise failure or OSError("the host has no address")


def _unreachable(url: Url, error: Exception, proxy: Proxy | None) -> str:
    where = redacted(url)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {url.host} cannot be verified: {error.verify_message}; "
            f"SSL_CERT_FILE names certificate authorities to trust."
        )
    if proxy is not None:
        return f"{where} cannot be reached through the proxy {proxy} ({type(error).__name__})."
    if isinstance(error, TimeoutError):
        return f"{where} did not answer in time."
    if isinstance(error, ConnectionRefusedError) and url.host in ("localhost", "127.0.0.1"):
        return (
            f"Nothing answers at {where}: inside a container {url.host} is the container "
            f"itself, use the other machine's name or host.docker.internal."
        )
    return f"{where} cannot be reached or broke off ({type(error).__name__})."
