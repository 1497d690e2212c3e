"""The newest prompt of each project, kept on disk for all worker processes."""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from grounded_labeler.bounded import keep

logger = logging.getLogger(__name__)

_BUSY_SECONDS = 5.0  # waiting for another process's write, which takes milliseconds
_MAX_STAND_INS = 1000  # projects kept in memory while the file cannot be used
# Whoever can call /webhook can name projects: the file must have an end.
_MAX_PROMPTS = 10_000
_FORGET = (
    "DELETE FROM prompts WHERE project IN "
    "(SELECT project FROM prompts ORDER BY learned DESC LIMIT -1 OFFSET ?)"
)
_MAX_NAME_LENGTH = 200  # of an image tag, in the file
_UNUSABLE = (sqlite3.Error, OSError, UnicodeEncodeError)


def memory_key(project: str, image: str) -> str:
    """Under which the prompt of an image tag of a project is kept."""
    return f"{project}/{image[:_MAX_NAME_LENGTH]}"


class PromptMemory:
    """Remembers what was last asked in each project, across processes, restarts and kills.

    `path` is the SQLite file, made when it is first needed; None keeps prompts in this
    process only. A file that cannot be used never stops an answer: it is warned of
    once and this process's own memory stands in. Threads may share a memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stand_ins: dict[str, tuple[float, str]] = {}  # time and prompt, as in the file
        self._warned = False

    def newest(self, project: str) -> str | None:
        """The prompt last remembered for `project`, None if there is none."""
        with self._lock:
            known = [self._stand_ins[project]] if project in self._stand_ins else []
        if self._path is not None:
            try:
                with _open(self._path) as database:
                    known += database.execute(
                        "SELECT learned, prompt FROM prompts WHERE project = ?", (project,)
                    ).fetchall()
            except _UNUSABLE as error:
                self._warn(error)
        return max(known)[1] if known else None

    def remember(self, project: str, prompt: str) -> None:
        """Make `prompt` the newest of `project`."""
        kept, now = False, time.time()
        if self._path is not None:
            try:
                with _open(self._path) as database:
                    database.execute(
                        "INSERT OR REPLACE INTO prompts (project, learned, prompt) "
                        "VALUES (?, ?, ?)",
                        (project, now, prompt),
                    )
                    database.execute(_FORGET, (_MAX_PROMPTS,))
                kept = True
            except _UNUSABLE as error:
                self._warn(error)
        with self._lock:
            self._stand_ins.pop(project, None)
            if not kept:
                keep(self._stand_ins, project, (now, prompt), _MAX_STAND_INS)

    def _warn(self, error: Exception) -> None:
        with self._lock:
            warned, self._warned = self._warned, True
        if not warned:
            logger.warning(
                "Prompts cannot be kept in %s (%s): each worker remembers its own until it ends. "
                "Make the folder writable, free room on its disk, or delete the file if it is "
                "damaged.",
                self._path,
                error,
            )


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for one statement, with the table in place.

    A new one each time (about a millisecond) is safe under threads and after a fork.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # isolation_level None is autocommit: a statement is on disk when execute() returns.
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
        # Readers do not wait for the writer, and a killed process leaves no half-written page.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS prompts "
            "(project TEXT PRIMARY KEY, learned REAL NOT NULL, prompt TEXT NOT NULL)"
        )
        yield database
