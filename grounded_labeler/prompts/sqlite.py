"""Prompts in a file of this machine, for all its worker processes."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tenacity
from sqlalchemy import URL, Connection, NullPool, create_engine, event

from grounded_labeler.prompts.database import DatabaseStore
from grounded_labeler.prompts.store import MAX_PROMPTS
from grounded_labeler.prompts.url import StoreAddress

_BUSY_SECONDS = 5.0  # waiting for another process's write, which takes milliseconds


class SQLiteStore(DatabaseStore):
    """The SQLite file `path`, made when the first prompt is stored, with `most` projects in it."""

    remedy = "Make the folder writable, free room on its disk, or delete the file if it is damaged."

    def __init__(self, path: Path, most: int = MAX_PROMPTS) -> None:
        engine = create_engine(
            URL.create("sqlite", database=str(path)),
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"timeout": _BUSY_SECONDS},
            hide_parameters=True,
        )
        event.listen(engine, "do_connect", self._make_folder)
        event.listen(engine, "connect", _use_wal)
        super().__init__(StoreAddress("sqlite", "sqlite://", str(path)), engine, "prompts", most)
        self._path = path

    def _make_folder(self, *_: object) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        if not os.path.lexists(self._path):
            yield None
        else:
            with super()._reading() as connection:
                yield connection


def _is_busy(error: BaseException) -> bool:
    return (
        isinstance(error, sqlite3.OperationalError)
        and error.sqlite_errorcode == sqlite3.SQLITE_BUSY
    )


# Where several processes make the file at once, SQLite refuses this without waiting.
@tenacity.retry(
    retry=tenacity.retry_if_exception(_is_busy),
    stop=tenacity.stop_after_delay(_BUSY_SECONDS),
    wait=tenacity.wait_fixed(0.01),
    reraise=True,
)
def _use_wal(connection: sqlite3.Connection, _: object) -> None:
    """Readers do not wait for the writer, and a killed process leaves no half-written page."""
    connection.execute("PRAGMA journal_mode = WAL")
