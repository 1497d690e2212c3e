"""The results so far, on disk: a run that ended, however it did, goes on from there."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from grounded_labeler.core.inference import Failure
from grounded_labeler.errors import SettingsError
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.description import KeptImage, write_description
from grounded_labeler.preannotate.names import readable
from grounded_labeler.preannotate.results import TaskId, TaskOutcome, from_json, to_json
from grounded_labeler.preannotate.sources import Source

_FORM = 3  # the first one knew neither source nor content, the second held Label Studio's JSON
_TABLES = """
CREATE TABLE source (identity TEXT, name TEXT);
CREATE TABLE outcomes (
    version TEXT, task TEXT, content TEXT, outcome TEXT, PRIMARY KEY (version, task)
);
CREATE TABLE overwritten (version TEXT, task TEXT, done INTEGER, PRIMARY KEY (version, task));
CREATE TABLE numbers (image TEXT PRIMARY KEY, number INTEGER);
"""


class Journal:
    """The outcomes of one model version about the images of one source, by task.

    A result is kept with the content it was made of. Those of other versions in the
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
            # A run keeps its results on a thread of its own, one at a time.
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
            "SELECT task, content FROM outcomes WHERE version = ?", (self._version,)
        )
        return {json.loads(task): content for task, content in rows}

    def add(
        self,
        outcomes: Sequence[tuple[TaskId, str | None, TaskOutcome]],
        *,
        overwriting: bool = False,
    ) -> None:
        """Keep the outcomes of some tasks, all or none; with its content for one with a result."""
        rows = [
            (self._version, json.dumps(task), content, to_json(outcome))
            for task, content, outcome in outcomes
        ]
        with self._all_or_none():
            self._database.executemany("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?)", rows)
            if overwriting:
                self._mark([(task, not isinstance(one, Failure)) for task, _, one in outcomes])

    def outcome(self, task: TaskId) -> TaskOutcome | None:
        """What was kept of a task, if it was looked at."""
        row = self._database.execute(
            "SELECT outcome FROM outcomes WHERE version = ? AND task = ?",
            (self._version, json.dumps(task)),
        ).fetchone()
        return None if row is None else from_json(row[0])

    def drop(self, tasks: Iterable[TaskId]) -> None:
        """Take the outcomes of these tasks out."""
        rows = [(self._version, json.dumps(task)) for task in tasks]
        with self._all_or_none():
            self._database.executemany("DELETE FROM outcomes WHERE version = ? AND task = ?", rows)

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

    def describe(
        self, categories: Iterable[str], images: Iterable[KeptImage], *, stretch: bool = False
    ) -> None:
        """Note the classes and images of this version, for who has the journal without the run.

        `stretch` says whether it stretches images of more than 8 bits a channel.
        """
        with self._all_or_none():
            write_description(self._database, self._version, categories, images, stretch=stretch)

    def remove_if_empty(self) -> None:
        """Delete the file when it holds nothing that a later run could use."""
        query = "SELECT (SELECT COUNT(*) FROM outcomes) + (SELECT COUNT(*) FROM overwritten)"
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


def tasks_left(
    journal: Journal,
    source: Source,
    tasks: Sequence[Task],
    *,
    concurrency: int,
    overwrite: bool,
    dry: bool,
) -> list[Task]:
    """The tasks to look at; what was found in images that have changed since is dropped.

    `concurrency` images are read at once; nothing is dropped when `dry`.
    """
    seen = journal.contents()
    looked_at = [task for task in tasks if seen.get(task["id"]) is not None]
    pool = ThreadPoolExecutor(concurrency)
    try:
        contents = pool.map(source.content, looked_at)
        changed = {
            task["id"]
            for task, content in zip(looked_at, contents, strict=True)
            if content != seen[task["id"]]
        }
    finally:  # an interrupt does not wait for all files to be read
        pool.shutdown(cancel_futures=True)
    if not dry:
        journal.drop(changed)
    tried: Collection[TaskId] = seen.keys() - changed
    done = {task for task in tried if seen[task] is not None}
    if overwrite:
        tried = journal.overwritten()
        done = {task for task, has_result in tried.items() if has_result and task in done}
    return untried_first(tasks, done, tried)


def untried_first(
    tasks: Sequence[Task], done: Collection[TaskId], tried: Collection[TaskId]
) -> list[Task]:
    """The tasks to look at: those that failed before last, or a limit might never get past them."""
    left = [task for task in tasks if task["id"] not in done]
    return sorted(left, key=lambda task: task["id"] in tried)


def _form(database: sqlite3.Connection) -> int | None:
    """The form of a journal; None for a file without anything in it."""
    [form] = database.execute("PRAGMA user_version").fetchone()
    [tables] = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    return int(form) if tables else None
