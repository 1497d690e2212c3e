"""Which store an address names. A driver is imported when it is needed."""

import logging
from pathlib import Path

from grounded_labeler.errors import SettingsError
from grounded_labeler.prompts.circuit_breaker import CircuitBreaker
from grounded_labeler.prompts.sqlite import SQLiteStore
from grounded_labeler.prompts.store import MAX_PROMPTS, PromptStore
from grounded_labeler.prompts.url import StoreAddress, read_store_address
from grounded_labeler.secret_files import LiveSecret

logger = logging.getLogger(__name__)


def open_store(url: str, most: int = MAX_PROMPTS) -> PromptStore:
    """Return the store at `url`, which holds `most` projects; nothing is connected to yet.

    Raises SettingsError for an address that its driver cannot read, ValueError for what
    is no address of a store.
    """
    address = read_store_address(url)
    store = _open(address, most)
    return store if address.kind == "sqlite" else CircuitBreaker(store)


def follow_store(address: LiveSecret, most: int = MAX_PROMPTS) -> PromptStore:
    """Return the store at an address that a file holds: once it holds another, that one's store.

    Raises as `open_store` does. An address that turns bad later is warned of, and the store
    of the one before stays in use.
    """
    current = address.get() or ""

    def newer() -> PromptStore | None:
        nonlocal current
        now = address.get() or ""
        if now == current:
            return None
        current = now
        try:
            return _open(read_store_address(now), most)
        except (SettingsError, ValueError) as error:  # neither repeats a password
            logger.warning("The new address of the store of prompts is not used: it %s.", error)
            return None

    return CircuitBreaker(_open(read_store_address(current), most), newer=newer)


def _open(address: StoreAddress, most: int) -> PromptStore:
    if address.kind == "sqlite":
        return SQLiteStore(Path(address.place), most)
    from grounded_labeler.prompts.postgresql import PostgreSQLStore  # noqa: PLC0415

    return PostgreSQLStore(address, most)
