"""Prompts in a file of this machine, for all its worker processes."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from grounded_labeler.prompts.store import MAX_PROMPTS, Entry, StoreError

_BUSY_SECONDS = 5.0  # waiting for another process's write, which takes milliseconds
_REMEMBER = (
    "INSERT INTO prompts (project, learned, prompt) VALUES (?, ?, ?) "
    "ON CONFLICT (project) DO UPDATE SET learned = excluded.learned, prompt = excluded.prompt "
    "WHERE excluded.learned >= prompts.learned"
)
_FORGET = (
    "DELETE FROM prompts WHERE project IN "
    "(SELECT project FROM prompts ORDER BY learned DESC LIMIT -1 OFFSET ?)"
)


class SQLiteStore:
    """The SQLite file `path`, made when it is first needed, with `most` projects in it."""

    remedy = "Make the folder writable, free room on its disk, or delete the file if it is damaged."

    def __init__(self, path: Path, most: int = MAX_PROMPTS) -> None:
        self.place = str(path)
        self._path, self._most = path, most

    def newest(self, project: str) -> tuple[float, str] | None:
        if not os.path.lexists(self._path):
            return None  # and reading makes no file
        with self._opened() as database:
            found: tuple[float, str] | None = database.execute(
                "SELECT learned, prompt FROM prompts WHERE project = ?", (project,)
            ).fetchone()
        return found

    def remember(self, project: str, learned: float, prompt: str) -> None:
        with self._opened() as database:
            database.execute(_REMEMBER, (project, learned, prompt))
            database.execute(_FORGET, (self._most,))

    def entries(self) -> list[Entry]:
        if not self._path.exists():
            return []  # and none is made for looking
        with self._opened() as database:
            rows = database.execute(
                "SELECT project, learned, prompt FROM prompts ORDER BY learned DESC, project"
            )
            return [Entry(*row) for row in rows]

    def forget(self, project: str) -> None:
        if self._path.exists():
            with self._opened() as database:
                database.execute("DELETE FROM prompts WHERE project = ?", (project,))

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A connection for one question, with the table in place; its errors as StoreError.

        A new one each time (about a millisecond) is safe under threads and after a fork.
        """
        try:
            with _connect(self._path) as database:
                yield database
        except (sqlite3.Error, OSError, UnicodeEncodeError) as error:
            raise StoreError(str(error)) from error


@contextmanager
def _connect(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # isolation_level None is autocommit: a statement is on disk when execute() returns.
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
        _use_wal(database)
        database.execute(
            "CREATE TABLE IF NOT EXISTS prompts "
            "(project TEXT PRIMARY KEY, learned REAL NOT NULL, prompt TEXT NOT NULL)"
        )
        yield database


def _use_wal(database: sqlite3.Connection) -> None:
    """Readers do not wait for the writer, and a killed process leaves no half-written page."""
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # Where several make the file at once, SQLite refuses this without waiting.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return
