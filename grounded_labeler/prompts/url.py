"""The address of a store of prompts: parsed once, its password never shown."""

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from grounded_labeler.errors import SettingsError

_KINDS = {"sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql"}
_FORMS = "must be postgresql://user:password@host/database or sqlite:///path/to/file"
_HOST = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")
_MAX_PORT = 65535
_MAX_REASON_LENGTH = 200


@dataclass(frozen=True)
class StoreAddress:
    """Where a store is.

    `kind` is "sqlite" or "postgresql"; `url` is for its driver and may hold a password;
    `place`, the file or the hosts, may be shown.
    """

    kind: str
    url: str = field(repr=False)
    place: str

    def hide_secrets(self, text: str) -> str:
        """Return the first line of a driver's `text` without the user and password of `url`."""
        line = " ".join(text.strip().partition("\n")[0].split())
        parts = urlsplit(self.url)
        raw_user, _, raw_password = parts.netloc.rpartition("@")[0].partition(":")
        asked = [value for name, value in parse_qsl(parts.query) if "password" in name]
        for password in (raw_password, unquote(raw_password), *asked):
            line = line.replace(password, "***") if password else line
        # Servers quote the user, and a bare one may be part of any word.
        line = line.replace(f'"{unquote(raw_user)}"', '"***"') if raw_user else line
        return line[:_MAX_REASON_LENGTH]

    def refusal(self, error: Exception) -> SettingsError:
        """Return what to raise when a driver cannot read `url`."""
        reason = self.hide_secrets(str(error))
        return SettingsError(f"PROMPT_STORE has options its driver refuses: {reason}")


def read_store_address(url: str) -> StoreAddress:
    """Parse the address of a store.

    Raises ValueError for what is no address of a store; its message completes a sentence
    that begins with the name of the setting, and repeats nothing of `url`.
    """
    url = url.strip()
    if re.search(r"[\x00-\x20\x7f]|%(?![0-9A-Fa-f]{2})", url):
        raise ValueError("holds a space or a bare %: write them as %20 and %25")
    try:
        parts = urlsplit(url)
    except ValueError:  # its message may repeat the password
        raise ValueError(_FORMS) from None
    if parts.scheme in {"redis", "rediss"}:
        raise ValueError(f"names Redis, which is no longer supported: it {_FORMS}")
    kind = _KINDS.get(parts.scheme)
    if kind is None or not url.startswith(f"{parts.scheme}://"):
        raise ValueError(_FORMS)
    if kind == "sqlite":
        return StoreAddress(kind, url, _file(parts))
    # What follows one of these in a password would be taken for the host or for an option.
    if "#" in url or url.count("@") > 1 or "@" in parts.path + parts.query:
        raise ValueError("holds @, / ? or # in a password: write them as %40, %2F, %3F and %23")
    hosts = parts.netloc.rpartition("@")[2]
    if not all(map(_is_host, hosts.split(","))) and hosts:
        raise ValueError(_FORMS)
    return StoreAddress(kind, url, f"{parts.scheme}://{hosts}")


def _file(parts: SplitResult) -> str:
    name = unquote(parts.path).lstrip("/")
    if parts.netloc or parts.query or parts.fragment or not name or name.endswith("/"):
        raise ValueError("must name a file by its whole path, as sqlite:///data/prompts.sqlite3")
    return f"/{name}"


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    return found is not None and int(found[1] or 0) <= _MAX_PORT
