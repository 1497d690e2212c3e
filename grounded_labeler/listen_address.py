"""Where the service listens, as settings say it; the health check reads the same ones.

Only the standard library is imported: a health check must be instant.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address

DEFAULT_PORT = 9090
_LAST_PORT = 65535
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_BIND = "must be an address, a port, or both, as 127.0.0.1, [::]:9090 or 8000"


@dataclass(frozen=True)
class Bind:
    """What BIND names: `host` without brackets, and a port; None for what it leaves open."""

    host: str | None = None
    port: int | None = None


def parse_bind(text: str) -> Bind:
    """Return what `text` names; raises ValueError, whose message completes a sentence."""
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return Bind(None, _port(text))
    if _is_ipv6(text):
        return Bind(text)
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host = text
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else None
    if not (_HOST.fullmatch(host) if bare is None else _is_ipv6(bare)):
        raise ValueError(_BIND)
    return Bind(bare or host, _port(port) if colon else None)


def parse_prefix(text: str) -> str:
    """Return `text` as a path to put before others, "" for none; raises ValueError likewise."""
    prefix = text.strip().rstrip("/")
    parts = prefix.split("/")
    if prefix and not (_PREFIX.fullmatch(prefix) and not {".", ".."} & set(parts)):
        raise ValueError("must be a path like /labeler")
    return prefix


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _LAST_PORT):
        raise ValueError(_BIND)
    return int(text)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
