"""Prompts in a file of this machine, for all its worker processes."""

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import tenacity
from sqlalchemy import URL, Executable, NullPool, Row, create_engine, event

from grounded_labeler.prompts.database import DatabaseStore
from grounded_labeler.prompts.store import MAX_PROMPTS
from grounded_labeler.prompts.url import StoreAddress

_State = tuple[int, ...]

_MAX_SEEN = 1000  # projects
# A file that was written to so recently may be written to again without its time showing it.
_SETTLED_SECONDS = 2.0
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
        # What was read while the files were in this state; replaced as a whole, for threads.
        self._seen: tuple[_State | None, dict[str, tuple[float, str] | None]] = (None, {})

    def newest(self, project: str) -> tuple[float, str] | None:
        """Return what the protocol says; what was read is read again once the files change."""
        state = _settled_state(self._path)  # before the file is read: it may change meanwhile
        seen_state, seen = self._seen
        if state is None:
            return super().newest(project)
        if state != seen_state or len(seen) >= _MAX_SEEN:
            seen = {}
            self._seen = state, seen
        if project not in seen:
            seen[project] = super().newest(project)
        return seen[project]

    def _make_folder(self, *_: object) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def _run(self, statement: Executable) -> Sequence[Row[Any]]:
        # To connect would make the file.
        return super()._run(statement) if os.path.lexists(self._path) else []


def _settled_state(path: Path) -> _State | None:
    """What differs once anybody writes to, restores or replaces the database at `path`.

    None where that cannot be told: there is no file, or it changed a moment ago. SQLite's own
    counter of changes would need a connection that stays open, and so would lose to whoever
    copies another file over this one.
    """
    now = time.time()
    files: list[os.stat_result] = []
    try:
        real = path.resolve(strict=True)
        # The log first: what is committed goes from there into the file, and not back. It is
        # there only while somebody uses the database.
        with suppress(FileNotFoundError):
            log = real.with_name(f"{real.name}-wal").stat()
            files += [log] if log.st_size else []
        files.append(real.stat())
    except (OSError, RuntimeError):  # the latter of links in a circle
        return None
    if max(file.st_ctime for file in files) > now - _SETTLED_SECONDS:
        return None
    return tuple(
        number
        for file in files
        for number in (file.st_dev, file.st_ino, file.st_size, file.st_ctime_ns)
    )


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
