"""The proxies that the environment names, for hosts that may be reached through one.

A proxy looks names up itself, so nothing here can check where they lead. Only hosts that
ALLOWED_HOSTS names, which may have any address, are requested through it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote
from urllib.request import (  # type: ignore[attr-defined]  # typeshed lacks the second
    getproxies_environment,
    proxy_bypass_environment,
)

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, make_headers, parse_url

from grounded_labeler.errors import ImageError
from grounded_labeler.images.ssrf import origin_of


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy; `headers` hold its password."""

    host: str
    port: int
    headers: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Proxies:
    """Which proxy the environment names for an address."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        """`variables`: proxies by scheme, exceptions under "no", as urllib has them."""
        self._variables = dict(variables or {})

    @classmethod
    def from_environment(cls) -> Self:
        """Read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, or the same in lower case."""
        return cls(getproxies_environment())

    def get(self, url: Url) -> Proxy | None:
        """Find the proxy for `url`, None when there is none or NO_PROXY names the host.

        Hosts without a dot, such as minio, are never the proxy's. ImageError when the
        variable holds no address of an HTTP proxy.
        """
        scheme, host, port = origin_of(url)
        address = self._variables.get(scheme) or self._variables.get("all")
        if not address or "." not in host:
            return None
        if proxy_bypass_environment(f"{host}:{port}", self._variables):
            return None
        return _parsed(address, scheme)


def _parsed(address: str, scheme: str) -> Proxy:
    try:
        url = parse_url(address if "://" in address else f"http://{address}")
    except LocationParseError:
        url = Url()
    if url.scheme != "http" or not url.host:
        raise ImageError(
            f"{scheme.upper()}_PROXY must be the address of an HTTP proxy, such as "
            f"http://proxy.example:3128."
        )
    headers = make_headers(proxy_basic_auth=unquote(url.auth)) if url.auth else {}
    return Proxy(url.host.strip("[]"), url.port or 80, headers)
