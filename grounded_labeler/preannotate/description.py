"""What a journal says of its run: which images, what they are called, and the classes."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from grounded_labeler.errors import SettingsError
from grounded_labeler.preannotate.names import JOURNAL, readable
from grounded_labeler.preannotate.results import TaskId

_TABLES = (
    "CREATE TABLE IF NOT EXISTS datasets (version TEXT PRIMARY KEY, categories TEXT)",
    "CREATE TABLE IF NOT EXISTS images "
    "(version TEXT, image TEXT, description TEXT, PRIMARY KEY (version, image))",
    "CREATE TABLE IF NOT EXISTS stretched (version TEXT PRIMARY KEY)",
)


@dataclass(frozen=True)
class KeptImage:
    """An image of a run.

    Attributes:
        task: the id of its task.
        target: the name of its Image tag.
        name: what a dataset calls it.
        address: its address in Label Studio, or the path of its file.
        group: what the task's data call its group; "" for none.
    """

    task: TaskId
    target: str
    name: str
    address: str
    group: str = ""


@dataclass(frozen=True)
class KeptRun:
    """The run that a journal was last used for.

    Attributes:
        path: the journal.
        identity: JSON that says which folder or project it is about.
        source: what sentences call that.
        version: the model version, by which the journal has its outcomes.
        categories: the classes in their order.
        images: every image, looked at or not.
        stretch: whether it stretched images of more than 8 bits a channel.
    """

    path: Path
    identity: str
    source: str
    version: str
    categories: tuple[str, ...]
    images: tuple[KeptImage, ...]
    stretch: bool


def write_description(
    database: sqlite3.Connection,
    version: str,
    categories: Iterable[str],
    images: Iterable[KeptImage],
    *,
    stretch: bool,
) -> None:
    """Write what the run of this version is of, in the place of what an earlier one wrote.

    It is written as JSON: names may hold bytes that are no text. Journals that were made before
    there was a place for it get one.
    """
    for statement in _TABLES:
        database.execute(statement)
    rows = [
        (
            version,
            json.dumps((image.task, image.target)),
            json.dumps((image.name, image.address, image.group)),
        )
        for image in images
    ]
    database.execute(
        "INSERT OR REPLACE INTO datasets VALUES (?, ?)", (version, json.dumps(list(categories)))
    )
    database.execute("DELETE FROM images WHERE version = ?", (version,))
    database.executemany("INSERT INTO images VALUES (?, ?, ?)", rows)
    if stretch:  # another --stretch has another version
        database.execute("INSERT OR REPLACE INTO stretched VALUES (?)", (version,))


def read_kept_run(folder: Path) -> KeptRun:
    """Read the journal in the --out folder of a run.

    Raises SettingsError where there is none, or none that says what its run was of.
    """
    path, shown = folder / JOURNAL, readable(str(folder))
    if not path.is_file():
        raise SettingsError(
            f"{shown} holds no results: it is no folder that `preannotate` wrote a dataset into. "
            "Predictions that it imported into Label Studio are there: pass --project, or run it "
            "with --export."
        )
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            [identity, source] = database.execute("SELECT identity, name FROM source").fetchone()
            newest = "SELECT version, categories FROM datasets ORDER BY rowid DESC LIMIT 1"
            [version, categories] = database.execute(newest).fetchone()
            rows = database.execute(
                "SELECT image, description FROM images WHERE version = ? ORDER BY rowid", (version,)
            ).fetchall()
            stretch = _is_stretched(database, version)
    except (sqlite3.Error, TypeError) as error:  # TypeError: a table without a row
        raise SettingsError(
            f"The journal in {shown} does not say what its images are: run the same `preannotate` "
            "once more, with --export where it is of a project. It does not look at them again."
        ) from error
    images = tuple(KeptImage(*json.loads(key), *json.loads(rest)) for key, rest in rows)
    return KeptRun(path, identity, source, version, tuple(json.loads(categories)), images, stretch)


def _is_stretched(database: sqlite3.Connection, version: str) -> bool:
    """Journals that were made before there was a table for it do not say, and count as not."""
    query = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'stretched'"
    [has_table] = database.execute(query).fetchone()
    query = "SELECT COUNT(*) FROM stretched WHERE version = ?"
    return bool(has_table and database.execute(query, (version,)).fetchone()[0])
