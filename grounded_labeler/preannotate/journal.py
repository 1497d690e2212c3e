"""What was found so far, on disk: a run that ended, however it did, goes on from there."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from grounded_labeler.errors import SettingsError
from grounded_labeler.label_studio.prediction_builder import Prediction
from grounded_labeler.preannotate.local_runner import TaskId
from grounded_labeler.preannotate.names import readable

_FORM = 2  # the first one knew neither source nor content
_TABLES = """
CREATE TABLE source (identity TEXT, name TEXT);
CREATE TABLE answers (
    version TEXT, task TEXT, content TEXT, prediction TEXT, PRIMARY KEY (version, task)
);
CREATE TABLE overwritten (version TEXT, task TEXT, done INTEGER, PRIMARY KEY (version, task));
CREATE TABLE numbers (image TEXT PRIMARY KEY, number INTEGER);
"""


class Journal:
    """The predictions of one model version about the images of one source, by task.

    A prediction is kept with the content it was made of. Those of other versions in the
    same file are left alone. One process at a time may use it. `source` is an identity
    and what sentences call it. Nothing is written when `dry`. Raises SettingsError when
    the file cannot be used, and when it is of another source.
    """

    def __init__(
        self, path: Path, source: tuple[str, str], version: str, *, dry: bool = False
    ) -> None:
        self._path = path
        self._version = version
        with self._usable():
            if not dry:
                path.parent.mkdir(parents=True, exist_ok=True)
            where = path if path.exists() or not dry else ":memory:"
            # A run keeps its predictions on a thread of its own, one at a time.
            self._database = sqlite3.connect(where, isolation_level=None, check_same_thread=False)
        try:
            self._open(*source)
        except BaseException:
            self.close()
            raise

    def _open(self, identity: str, name: str) -> None:
        with self._usable():
            form = _form(self._database)
        if form is None:
            with self._all_or_none():
                for statement in _TABLES.split(";"):
                    self._database.execute(statement)
                self._database.execute("INSERT INTO source VALUES (?, ?)", (identity, name))
                self._database.execute(f"PRAGMA user_version = {_FORM}")
        elif form != _FORM:
            raise SettingsError(
                f"The journal {readable(str(self._path))} was written by another version of this "
                "command: name another --out, or delete that file to begin anew."
            )
        with self._usable():
            query = "SELECT identity, name FROM source"
            [kept, called] = self._database.execute(query).fetchone()
        if kept != identity:
            raise SettingsError(
                f"The journal {readable(str(self._path))} is about {called}, and not about {name}: "
                "name another --out, or delete that file to begin anew."
            )

    def close(self) -> None:
        self._database.close()

    def contents(self) -> dict[TaskId, str | None]:
        """The content of each task's image when it was looked at; None for those that failed."""
        rows = self._database.execute(
            "SELECT task, CASE WHEN json_type(prediction, '$.result') IS NOT NULL THEN content END "
            "FROM answers WHERE version = ?",
            (self._version,),
        )
        return {json.loads(task): content for task, content in rows}

    def add(
        self, predictions: Sequence[tuple[TaskId, str, Prediction]], *, overwriting: bool = False
    ) -> None:
        """Keep the predictions of some tasks with the content of each, all or none."""
        rows = [
            (self._version, json.dumps(task), content, json.dumps(one))
            for task, content, one in predictions
        ]
        with self._all_or_none():
            self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)
            if overwriting:
                self._mark([(task, "result" in one) for task, _, one in predictions])

    def prediction(self, task: TaskId) -> Prediction | None:
        """What was kept of a task, if it was looked at."""
        row = self._database.execute(
            "SELECT prediction FROM answers WHERE version = ? AND task = ?",
            (self._version, json.dumps(task)),
        ).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def drop(self, tasks: Iterable[TaskId]) -> None:
        """Take the predictions of these tasks out."""
        rows = [(self._version, json.dumps(task)) for task in tasks]
        with self._all_or_none():
            self._database.executemany("DELETE FROM answers WHERE version = ? AND task = ?", rows)

    def overwritten(self) -> dict[TaskId, bool]:
        """The tasks that were looked at since --overwrite began, and whether they have a result."""
        rows = self._database.execute(
            "SELECT task, done FROM overwritten WHERE version = ?", (self._version,)
        )
        return {json.loads(task): bool(done) for task, done in rows}

    def mark_overwritten(self, tasks: Mapping[TaskId, bool]) -> None:
        """Note that these were looked at, and whether they have a result now."""
        with self._all_or_none():
            self._mark(list(tasks.items()))

    def end_overwriting(self, tasks: Iterable[TaskId]) -> None:
        """Note that all of these were looked at: the next --overwrite begins with all again."""
        rows = [(self._version, json.dumps(task)) for task in tasks]
        with self._all_or_none():
            self._database.executemany(
                "DELETE FROM overwritten WHERE version = ? AND task = ?", rows
            )

    def numbers(self, images: Sequence[tuple[TaskId, str]]) -> list[int]:
        """The number of each image, of a task and an Image tag, the same in every run."""
        keys = [json.dumps(image) for image in images]
        known: dict[str, int] = dict(self._database.execute("SELECT image, number FROM numbers"))
        new = [key for key in dict.fromkeys(keys) if key not in known]
        added = dict(zip(new, range(len(known) + 1, len(known) + len(new) + 1), strict=True))
        with self._all_or_none():
            self._database.executemany("INSERT INTO numbers VALUES (?, ?)", list(added.items()))
        return [(known | added)[key] for key in keys]

    def remove_if_empty(self) -> None:
        """Delete the file when it holds nothing that a later run could use."""
        query = "SELECT (SELECT COUNT(*) FROM answers) + (SELECT COUNT(*) FROM overwritten)"
        [count] = self._database.execute(query).fetchone()
        if count == 0:
            self.close()
            self._path.unlink(missing_ok=True)

    def _mark(self, tasks: Sequence[tuple[TaskId, bool]]) -> None:
        rows = [(self._version, json.dumps(task), done) for task, done in tasks]
        self._database.executemany("INSERT OR REPLACE INTO overwritten VALUES (?, ?, ?)", rows)

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        with self._usable(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            said = f"The journal {readable(str(self._path))} cannot be used: {error}."
            raise SettingsError(said) from error


def refuse_other(path: Path, source: tuple[str, str]) -> None:
    """Raise SettingsError when `path` is the journal of another source.

    A run that keeps nothing there may go on where a journal knows no source.
    """
    if path.exists():
        with closing(sqlite3.connect(path)) as database:
            try:
                form = _form(database)
            except sqlite3.Error:
                return
        if form == _FORM:
            Journal(path, source, "", dry=True).close()


def _form(database: sqlite3.Connection) -> int | None:
    """The form of a journal; None for a file without anything in it."""
    [form] = database.execute("PRAGMA user_version").fetchone()
    [tables] = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    return int(form) if tables else None
