"""Near-duplicates among the images of a run: which tasks belong together."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.console import tell
from grounded_labeler.core.duplicates import group_duplicates
from grounded_labeler.core.inference import Failure
from grounded_labeler.errors import SettingsError
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.names import (
    EMBEDDINGS,
    GROUP_KEY,
    GROUP_PREFIX,
    GROUPS,
    readable,
)
from grounded_labeler.preannotate.results import ImageResult, TaskOutcome, TaskOutcomes

# docs/whole-projects.md says on what it was measured.
SIMILARITY = 0.9
_FEW = 10  # images, of which most may well be one burst

_TABLE = (
    "CREATE TABLE IF NOT EXISTS embeddings "
    "(run TEXT, task TEXT, embedding BLOB, PRIMARY KEY (run, task))"
)


class Grouping:
    """Collects the embeddings of a run's tasks, on disk in `out`, and groups the tasks by them.

    `run` names what the embeddings are of and by: those of another run do not compare. A run that
    ended goes on with what it had. Raises SettingsError when the file cannot be used.
    """

    def __init__(self, out: Path, run: str) -> None:
        self._out, self._run = out, run
        try:
            out.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as database, database:
                database.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            said = f"{readable(str(out / EMBEDDINGS))} cannot be used: {error}."
            raise SettingsError(said) from error

    def take(self, outcomes: TaskOutcomes) -> TaskOutcomes:
        """Keep the embedding of each task's first image; returns the outcomes without them."""
        rows = [
            (self._run, json.dumps(task), one.astype("<f2").tobytes())
            for task, outcome in outcomes.items()
            if (one := _embedding(outcome)) is not None
        ]
        with closing(self._open()) as database, database:
            database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)
        return {task: _without_embedding(outcome) for task, outcome in outcomes.items()}

    def write(self, tasks: Sequence[Task]) -> dict[str, str]:
        """Group these tasks and write which is in which group; returns that, by task.

        A task that has no near-duplicate is in no group.
        """
        known = {json.dumps(task["id"]): str(task["id"]) for task in tasks}
        names, embeddings = self._read(known)
        firsts = group_duplicates(embeddings, SIMILARITY)
        sizes = np.bincount(firsts, minlength=1)
        groups = {
            name: f"{GROUP_PREFIX}{names[first]}"
            for name, first in zip(names, firsts, strict=True)
            if sizes[first] > 1
        }
        text = json.dumps({"groups": groups}, ensure_ascii=False, indent=1)
        (self._out / GROUPS).write_text(text, encoding="utf-8")
        several = sizes[sizes > 1]
        tell(
            f"Near-duplicates: {len(groups)} of {len(names)} images are in {len(several)} groups, "
            f"the largest of {int(several.max(initial=0))}."
        )
        if (largest := int(several.max(initial=0))) > max(_FEW, len(names) / 2):
            tell(
                f"One group holds {largest} images, more than half: either they are one burst, or "
                "this detector sees too little difference between them."
            )
        if len(names) < len(tasks):
            tell(
                f"{len(tasks) - len(names)} tasks are in no group, as they failed or were labelled "
                "without --group-duplicates: --overwrite labels those again."
            )
        return groups

    def _read(self, known: Mapping[str, str]) -> tuple[list[str], NDArray[np.float16]]:
        query = "SELECT task, embedding FROM embeddings WHERE run = ?"
        with closing(self._open()) as database:
            kept: dict[str, bytes] = dict(database.execute(query, (self._run,)))
        names = [task for task in known if task in kept]
        rows = [np.frombuffer(kept[task], "<f2") for task in names]
        matrix = np.stack(rows) if rows else np.zeros((0, 0), np.float16)
        return [known[task] for task in names], matrix

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._out / EMBEDDINGS)


def groups_of(out: Path) -> dict[str, str]:
    """Return the group of each task of the run in `out` that has one, by its id as text.

    Raises SettingsError when the run made no groups, or its file cannot be read.
    """
    path = out / GROUPS
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["groups"])
    except FileNotFoundError:
        raise SettingsError(
            f"{readable(str(out))} has no groups: run preannotate with --group-duplicates first."
        ) from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SettingsError(f"{readable(str(path))} cannot be read: {error}.") from error


def write_to_tasks(
    groups: Mapping[str, str],
    tasks: Sequence[Task],
    write: Callable[[int, str, str | None], None],
) -> None:
    """Have `write` set each task's group in its data; what others wrote there stays.

    It is called with the task's id, the key and the group, None to remove what an earlier run
    wrote for a task that is in no group any more.
    """
    foreign = 0
    for task in tasks:
        group, there = groups.get(str(task["id"])), task["data"].get(GROUP_KEY)
        if there is not None and not str(there).startswith(GROUP_PREFIX):
            foreign += group is not None
            continue
        if there != group:
            write(int(task["id"]), GROUP_KEY, group)
    if foreign:
        tell(
            f'{foreign} tasks keep the "{GROUP_KEY}" that somebody else wrote into their data; '
            f"{GROUPS} says which they would have."
        )


def _embedding(outcome: TaskOutcome) -> NDArray[np.float32] | None:
    if isinstance(outcome, Failure):
        return None
    return next((one.embedding for one in outcome.found if one.embedding is not None), None)


def _without_embedding(outcome: TaskOutcome) -> TaskOutcome:
    if isinstance(outcome, Failure):
        return outcome
    return replace(
        outcome,
        images={
            name: replace(image, embedding=None) if isinstance(image, ImageResult) else image
            for name, image in outcome.images.items()
        },
    )
