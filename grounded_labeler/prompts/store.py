"""Where prompts are kept: a file, Redis or PostgreSQL. A driver is imported when it is needed."""

import logging
from pathlib import Path
from typing import NamedTuple, Protocol

from grounded_labeler.errors import SettingsError
from grounded_labeler.prompts.url import StoreAddress, read_store_address
from grounded_labeler.secret_files import LiveSecret

logger = logging.getLogger(__name__)

# Whoever can call /webhook can name projects: a store must have an end.
MAX_PROMPTS = 10_000


class StoreError(Exception):
    """A store cannot be used now; the message is one line that says why, without secrets."""


class Entry(NamedTuple):
    """One prompt: of which project's image tag, when it was learned, and the prompt itself."""

    project: str
    learned: float
    prompt: str


class PromptStore(Protocol):
    """The newest prompt of each project, for all who use the same place.

    `place` and `remedy` are for a warning: where it is, without user and password, and a
    sentence on what to do when it cannot be used. Threads may share a store, and it may
    be used after a fork. Of too many projects the one longest unchanged is forgotten.
    """

    place: str
    remedy: str

    def newest(self, project: str) -> tuple[float, str] | None:
        """When the prompt of `project` was learned, in seconds since 1970, and the prompt.

        None if there is none. Raises StoreError.
        """
        ...

    def remember(self, project: str, learned: float, prompt: str) -> None:
        """Keep `prompt`, unless one that was learned later is kept. Raises StoreError."""
        ...

    def entries(self) -> list[Entry]:
        """All that is kept, what was learned last first. Raises StoreError."""
        ...

    def forget(self, project: str) -> None:
        """Keep no prompt of `project` any more. Raises StoreError."""
        ...


def open_store(url: str, most: int = MAX_PROMPTS) -> PromptStore:
    """The store at `url`, which keeps `most` projects; nothing is connected to yet.

    Raises SettingsError for an address that its driver cannot read, ValueError for what
    is no address of a store.
    """
    address = read_store_address(url)
    store = _open(address, most)
    if address.kind == "sqlite":
        return store
    from grounded_labeler.prompts.circuit_breaker import RestingStore  # noqa: PLC0415

    return RestingStore(store)


def follow_store(address: LiveSecret, most: int = MAX_PROMPTS) -> PromptStore:
    """The store at an address that a file holds: once it holds another, that one is opened.

    Raises as `open_store` does; an address that turns bad later is warned of, and the store
    of the one before is used.
    """
    from grounded_labeler.prompts.circuit_breaker import RestingStore  # noqa: PLC0415

    asked = address.get() or ""
    first = _open(read_store_address(asked), most)

    def newer() -> PromptStore | None:
        nonlocal asked
        now = address.get() or ""
        if now == asked:
            return None
        asked = now
        try:
            return _open(read_store_address(now), most)
        except (SettingsError, ValueError) as error:  # neither repeats a password
            logger.warning("The new address of the store of prompts is not used: it %s.", error)
            return None

    return RestingStore(first, newer=newer)


def _open(address: StoreAddress, most: int) -> PromptStore:
    if address.kind == "sqlite":
        from grounded_labeler.prompts.sqlite import SQLiteStore  # noqa: PLC0415

        return SQLiteStore(Path(address.place), most)
    if address.kind == "redis":
        from grounded_labeler.prompts.redis import RedisStore  # noqa: PLC0415

        return RedisStore(address, most)
    from grounded_labeler.prompts.postgresql import PostgreSQLStore  # noqa: PLC0415

    return PostgreSQLStore(address, most)
