"""Where the service listens, as settings say it; the health check reads the same ones.

Only the standard library is imported: a health check must be instant.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address

DEFAULT_PORT = 9090
_LAST_PORT = 65535
_PORT = re.compile(r"[0-9]{1,9}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # longer ones cannot be looked up
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
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
    if text.isascii() and text.isdecimal():  # of whatever length
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


def parse_port(text: str) -> int:
    """Return the port that `text` names; raises ValueError likewise."""
    text = text.strip()
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= _LAST_PORT:
        raise ValueError(f"must be a number from 1 to {_LAST_PORT}")
    return int(text)


def _port(text: str) -> int:
    try:
        return parse_port(text)
    except ValueError:
        raise ValueError(_BIND) from None


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
