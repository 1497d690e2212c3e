"""One HTTP exchange that cannot be led astray: checked addresses, deadlines, a byte cap.

httpcore is used without httpx on top of it, for three reasons. One parser
(`urllib3.util.parse_url`) yields the host that is checked, connected to and
named in the request; two parsers that disagree have let others through
(CVE-2026-25960). Nothing is read from .netrc, and a proxy is used for hosts
alone that ALLOWED_HOSTS names: it is the proxy that resolves names then, and
checking them here would mean nothing. And the address that was checked is the
one that is connected to, so a name that changes its address in between (DNS
rebinding) gains nothing.
"""

import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpcore
from urllib3.util import Url

from grounded_labeler.errors import ImageError
from grounded_labeler.images.connections import CheckedBackend, TotalTimeout
from grounded_labeler.images.http_response import location_of, read_body
from grounded_labeler.images.proxies import Proxies, Proxy
from grounded_labeler.images.resolving import Resolver
from grounded_labeler.images.ssrf import AllowList, origin_of, redacted

# At DEBUG httpcore logs the headers of responses: a redirect's may hold a signed address.
logging.getLogger("httpcore").setLevel(logging.WARNING)

_OK = 200
_FAILURES = (
    OSError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
)


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
        scheme, host, _ = origin_of(url)
        # Asking for the plain bytes keeps the cap honest: nothing is inflated here.
        sent = {"Accept-Encoding": "identity", "User-Agent": "grounded-labeler", **(headers or {})}
        if json_body is not None:
            sent["Content-Type"] = "application/json"
        backend = CheckedBackend(
            self._resolver, self._allowed, deadline, trusted=trusted or proxy is not None
        )
        exchange = httpcore.ConnectionPool(
            ssl_context=self._ssl_context,
            proxy=_proxy(proxy) if proxy else None,
            network_backend=backend,
        )
        try:
            with (
                exchange,
                exchange.stream(
                    "GET" if json_body is None else "POST",
                    _url(scheme, host, url.port, url.request_uri),
                    headers=_latin1(sent),
                    content=json_body,
                    extensions={
                        "timeout": {
                            "connect": self._connect_timeout,
                            "read": self._read_timeout,
                            "write": self._read_timeout,
                        },
                        # Certificate and SNI go by the host's name, not its address.
                        "sni_hostname": host.strip("[]"),
                    },
                ) as response,
            ):
                body = read_body(response, url, self._max_bytes) if response.status == _OK else b""
            # A connection cut at the deadline can look like a short but complete body.
            deadline.remaining()
        except _FAILURES as error:
            raise ImageError(_unreachable(url, error, proxy)) from error
        return HttpResponse(response.status, location_of(response), body)


def _url(scheme: str, host: str, port: int | None, target: str) -> httpcore.URL:
    """Build the address part by part, so that httpcore parses nothing."""
    return httpcore.URL(
        scheme=scheme.encode(), host=host.encode(), port=port, target=target.encode()
    )


def _proxy(proxy: Proxy) -> httpcore.Proxy:
    return httpcore.Proxy(_url("http", proxy.host, proxy.port, "/"), headers=_latin1(proxy.headers))


def _latin1(headers: Mapping[str, str]) -> list[tuple[bytes | str, bytes | str]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _cause(error: BaseException) -> BaseException:
    """Return the exception that was there first: httpcore's own stand for several of Python's."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return error


def _unreachable(url: Url, error: Exception, proxy: Proxy | None) -> str:
    where, cause = redacted(url), _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {url.host} cannot be verified: {cause.verify_message}; "
            f"SSL_CERT_FILE names certificate authorities to trust."
        )
    if proxy is not None:
        return f"{where} cannot be reached through the proxy {proxy} ({type(error).__name__})."
    if isinstance(cause, TimeoutError):
        return f"{where} did not answer in time."
    if isinstance(cause, ConnectionRefusedError) and url.host in ("localhost", "127.0.0.1"):
        return (
            f"Nothing answers at {where}: inside a container {url.host} is the container "
            f"itself, use the other machine's name or host.docker.internal."
        )
    return f"{where} cannot be reached or broke off ({type(error).__name__})."
