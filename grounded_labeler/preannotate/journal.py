"""What was answered so far, on disk: a run that ended, however it did, goes on from there."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from grounded_labeler.answers import Prediction
from grounded_labeler.errors import SettingsError


class Journal:
    """The predictions of one model version, by the task's id; one process at a time.

    Answers of other versions in the same file are left alone. With `read_only` nothing is
    written, and no file is made. Raises SettingsError when the file cannot be used.
    """

    def __init__(self, path: Path, version: str, *, read_only: bool = False) -> None:
        self._version = version
        try:
            if read_only:
                self._database = _to_read(path)
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            # A run keeps its answers on a thread of its own, one at a time.
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # A killed process leaves nothing half-written.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS answers (version TEXT, task TEXT, prediction TEXT, "
                "PRIMARY KEY (version, task))"
            )
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(f"The journal {path} cannot be used: {error}.") from error

    def close(self) -> None:
        self._database.close()

    def answered(self) -> set[str]:
        """The tasks that have a result; those that failed are asked again."""
        rows = self._database.execute(
            "SELECT task FROM answers WHERE version = ? "
            "AND json_type(prediction, '$.result') IS NOT NULL",
            (self._version,),
        )
        return {task for (task,) in rows}

    def add(self, predictions: Mapping[int | str, Prediction]) -> None:
        """Keep the predictions of some tasks, all or none."""
        rows = [(self._version, str(task), json.dumps(one)) for task, one in predictions.items()]
        with closing(self._database.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
            cursor.execute("COMMIT")

    def predictions(self) -> Iterator[tuple[str, Prediction]]:
        """Every task that was looked at, by its id, and its prediction."""
        rows = self._database.execute(
            "SELECT task, prediction FROM answers WHERE version = ? ORDER BY task", (self._version,)
        )
        for task, prediction in rows:
            yield task, json.loads(prediction)

    def forget(self) -> None:
        """Begin anew."""
        self._database.execute("DELETE FROM answers WHERE version = ?", (self._version,))


def _to_read(path: Path) -> sqlite3.Connection:
    """The file as it is, or an empty one in memory where there is none."""
    if not path.is_file():
        database = sqlite3.connect(":memory:", isolation_level=None)
        database.execute("CREATE TABLE answers (version TEXT, task TEXT, prediction TEXT)")
        return database
    # SQLite makes files beside one that it reads, unless it is told that nobody writes to it;
    # where a run goes on or was killed, they are there already.
    running = path.with_name(f"{path.name}-wal").exists()
    mode = "mode=ro" if running else "immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, isolation_level=None)
