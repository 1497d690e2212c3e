"""Which hosts may be reached: URLs taken apart once, addresses judged one by one."""

import ipaddress
import re
from collections.abc import Sequence

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from grounded_labeler.errors import ImageError, SettingsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that IANA gives out, RFC 4291
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, the IPv4 address in the last 4 bytes


def parse_http(address: str) -> Url:
    """`address` as a URL with scheme http or https and a host; ImageError otherwise."""
    try:
        url = parse_url(address)
    except LocationParseError as error:
        raise ImageError("The image address is not a valid URL.") from error
    if url.scheme not in _PORTS or not url.host:
        raise ImageError("The image address must begin with http:// or https:// and a host.")
    if url.auth:
        raise ImageError(f"Take the user name and password out of the image address on {url.host}.")
    return url


def origin_of(url: Url) -> tuple[str, str, int]:
    """Scheme, host and port: what must be equal for two URLs to share a token."""
    scheme = url.scheme or ""
    return scheme, (url.host or "").rstrip("."), url.port or _PORTS.get(scheme, 0)


def redacted(url: Url) -> str:
    """`url` for an error message: without the query, which may hold a signature."""
    return str(Url(scheme=url.scheme, host=url.host, port=url.port, path=url.path))[:200]


def is_public(address: Address) -> bool:
    """Whether all the internet can reach `address`.

    An IPv6 address that stands for an IPv4 one (mapped, 6to4, NAT64) is judged by
    the latter: that is where its packets arrive.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    carried = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if carried is not None:
        return is_public(carried)
    return address in _GLOBAL_UNICAST and address.is_global


class AllowList:
    """Hosts that may have any address, and networks that count as public.

    `entries` are host names ("minio", "images.example.com"), addresses or CIDR
    networks ("10.0.0.0/8"); SettingsError when one is neither.
    """

    def __init__(self, entries: Sequence[str] = ()) -> None:
        self._names: set[str] = set()
        self._networks: list[Network] = []
        for entry in entries:
            name = entry.strip().lower()
            try:
                self._networks.append(ipaddress.ip_network(name, strict=False))
            except ValueError:
                if not _HOST_NAME.fullmatch(name):
                    # A comma in a password makes two entries of it, and only one has the @.
                    got = "" if any("@" in one for one in entries) else f"; got {entry!r}"
                    raise SettingsError(
                        f"ALLOWED_HOSTS takes host names and networks such as "
                        f"minio or 10.0.0.0/8, without scheme, user, port or *{got}."
                    ) from None
                self._names.add(name)

    def names(self, host: str) -> bool:
        """Whether `host` is an entry itself, by its name."""
        return host.rstrip(".").lower() in self._names

    def admits(self, host: str, addresses: Sequence[Address]) -> bool:
        """Whether `host`, which has all of `addresses`, may be connected to."""
        if self.names(host):
            return True
        return all(
            is_public(address) or any(address in network for network in self._networks)
            for address in addresses
        )
