"""Which tasks the promise may be made on: those drawn by chance, and never those tuned on."""

import random
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from grounded_labeler.errors import SettingsError
from grounded_labeler.quality.files import write_whole

SAMPLE = "sample.json"


@dataclass(frozen=True)
class Sample:
    """The tasks that people are to review.

    Attributes:
        url: the Label Studio; with `project` and when that was made, `created`, they name one.
        project: the number of the project.
        created: when the project was made.
        model_version: the one whose predictions are reviewed.
        tasks: their ids.
        is_drawn: whether they were drawn by chance. If not, they are those that were reviewed
            when predictions were first accepted: what is reviewed later is what was left.
    """

    url: str
    project: int
    created: str
    model_version: str
    tasks: tuple[int, ...]
    is_drawn: bool


@dataclass(frozen=True)
class _Tuned:
    """What is read of it: of a folder it has no project, and the names of files."""

    project: int | None
    tasks: frozenset[int] | frozenset[str]


_SAMPLE = TypeAdapter(Sample)
_TUNED = TypeAdapter(_Tuned)


def read_sample(folder: Path, of: Sample) -> Sample | None:
    """Read the sample that was drawn of the same project and model version as `of`, if one was.

    Raises SettingsError where the folder holds that of another project, or no sample.
    """
    path = folder / SAMPLE
    if not path.exists():
        return None
    try:
        found = _SAMPLE.validate_json(path.read_bytes())
    except ValidationError as error:
        raise SettingsError(
            f"{path} is no review sample: move it away, or choose another --out."
        ) from error
    if (found.url, found.project, found.created) != (of.url, of.project, of.created):
        raise SettingsError(
            f"{path} is the review sample of project {found.project} of {found.url}: choose "
            "another --out."
        )
    return found if found.model_version == of.model_version else None


def write_sample(folder: Path, sample: Sample) -> None:
    """Write the sample where `read_sample` finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / SAMPLE, _SAMPLE.dump_json(sample, indent=1).decode())


def draw(tasks: Collection[int], count: int, seed: int) -> tuple[int, ...]:
    """Draw so many tasks by chance, or all where there are not so many; in the order of ids."""
    pool = sorted(tasks)
    return tuple(sorted(random.Random(seed).sample(pool, min(count, len(pool)))))


def read_tuned(path: Path, project: int) -> frozenset[int] | None:
    """Read the tasks of a project that thresholds or phrases were chosen on.

    None where there is no such file, or it is of another project.

    Raises SettingsError for a file that does not say.
    """
    if not path.exists():
        return None
    try:
        found = _TUNED.validate_json(path.read_bytes())
    except ValidationError as error:
        raise SettingsError(
            f"{path} does not say which tasks were tuned on: it must be what "
            "`grounded-labeler tune` writes."
        ) from error
    if found.project != project:
        return None
    return frozenset(task for task in found.tasks if isinstance(task, int))
