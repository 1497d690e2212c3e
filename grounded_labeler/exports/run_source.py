"""The results of a run of `preannotate` as a dataset to write."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from grounded_labeler.core.inference import Failure
from grounded_labeler.errors import ImageError, SettingsError
from grounded_labeler.exports.types import ExportDataset, ExportImage, ExportObject, LeftOut
from grounded_labeler.preannotate.description import KeptImage, KeptRun, read_kept_run
from grounded_labeler.preannotate.groups import groups_of
from grounded_labeler.preannotate.journal import Journal
from grounded_labeler.preannotate.names import GROUP_PREFIX, GROUPS
from grounded_labeler.preannotate.results import ImageResult, TaskId, TaskOutcome
from grounded_labeler.preannotate.run import reader_of
from grounded_labeler.service import label_studio_of
from grounded_labeler.settings import Settings

_NOT_YET = "It was not looked at: the run was ended before, or had a limit."


def read_run(settings: Settings, folder: Path, *, needs_files: bool) -> ExportDataset:
    """Read what the run with this --out folder found, the last one of those that share it.

    `needs_files` says whether images are read later, for which those of a project need the
    settings that name its Label Studio. Raises SettingsError for a folder without results, and
    without such settings.
    """
    run = read_kept_run(folder)
    project = _project_of(run, settings, needs_files=needs_files)
    images: list[ExportImage] = []
    left_out: list[LeftOut] = []
    read = _reader(settings, project)
    groups = groups_of(folder) if (folder / GROUPS).exists() else {}
    for image, result in _results(run):
        if isinstance(result, str):
            left_out.append(LeftOut(image.name, result))
            continue
        reading = partial(read, image, result.sha256)
        group = _group(image, groups)
        images.append(_export_image(image, result, group, reading, project))
    return ExportDataset(tuple(images), run.categories, tuple(left_out), run.stretch)


def _project_of(run: KeptRun, settings: Settings, *, needs_files: bool) -> str:
    """The number of the project that the run is of; empty for a folder."""
    identity = json.loads(run.identity)
    if "project" not in identity:
        return ""
    url = (settings.label_studio_url or "").rstrip("/")
    if needs_files and (url != identity["url"].rstrip("/") or not settings.label_studio_api_key):
        raise SettingsError(
            f"The images are those of {run.source}: set LABEL_STUDIO_URL to it and "
            "LABEL_STUDIO_API_KEY, or pass --images none."
        )
    return str(identity["project"])


def _results(run: KeptRun) -> Iterator[tuple[KeptImage, ImageResult | str]]:
    """Each image with what was found in it, or why there is nothing."""
    outcome: TaskOutcome | None = None
    task: TaskId | None = None
    with closing(Journal(run.path, (run.identity, run.source), run.version, dry=True)) as journal:
        for image in run.images:
            if image.task != task:  # a task's images follow each other
                task, outcome = image.task, journal.outcome(image.task)
            if outcome is None:
                yield image, _NOT_YET
                continue
            result = outcome if isinstance(outcome, Failure) else outcome.images[image.target]
            yield image, result.reason if isinstance(result, Failure) else result


def _group(image: KeptImage, groups: Mapping[str, str]) -> str:
    """The group that somebody wrote into the task's data, or else that of its near-duplicates."""
    if image.group and not image.group.startswith(GROUP_PREFIX):
        return image.group
    return groups.get(str(image.task), "")


def _reader(settings: Settings, project: str) -> Callable[[KeptImage, str], bytes]:
    reader, origin = reader_of(settings, project), label_studio_of(settings)

    def read(image: KeptImage, sha256: str) -> bytes:
        number = image.task if isinstance(image.task, int) else None
        data = reader.fetch(image.address, origin, number)
        if sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise ImageError("The image is not the one any more that was looked at.")
        return data

    return read


def _export_image(
    image: KeptImage,
    result: ImageResult,
    group: str,
    read: Callable[[], bytes],
    project: str,
) -> ExportImage:
    masks = result.masks or [None] * len(result.boxes)
    objects = tuple(
        ExportObject(label, box, mask, score=float(score))
        for label, box, mask, score in zip(
            result.names, result.boxes, masks, result.scores, strict=True
        )
    )
    return ExportImage(
        name=image.name,
        size_hw=result.size_hw,
        objects=objects,
        group=group,
        read=read,
        path=None if project else Path(image.address),
        address=image.address if project else None,
    )
