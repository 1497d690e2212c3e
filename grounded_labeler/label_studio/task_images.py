"""One image of one task and what is asked of it: fetched and decoded, or why not."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grounded_labeler import metrics
from grounded_labeler.bounded import shorten
from grounded_labeler.core.types import Picture
from grounded_labeler.errors import BadRequest, ImageError, NoImage, PromptError
from grounded_labeler.images.decode import decode
from grounded_labeler.images.source import Source
from grounded_labeler.label_studio.queries import Query, query_of_task
from grounded_labeler.label_studio.schema import ImageTarget

logger = logging.getLogger(__name__)

Task = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class TaskImage:
    """One image of one task and the question asked of it; no `picture` when `error` says why.

    `is_missing`: the task has no such image, now or later.
    """

    task: Task
    query: Query
    picture: Picture | None
    error: str
    fetch_seconds: float
    decode_seconds: float
    is_missing: bool = False


def load_task_image(source: Source, task: Task, query: Query, time_left: float) -> TaskImage:
    """Fetch, within `time_left` seconds, and decode one image.

    A failure is kept, so that the other tasks go on.
    """
    data, error, is_missing = b"", "", False
    try:
        query = query_of_task(query, task["data"])
    except PromptError as problem:
        error = str(problem)
    with metrics.timed("fetch") as fetching:
        if not error:
            data, error, is_missing = _fetch(source, task, query.target, time_left)
    picture, decode_seconds = None, 0.0
    if not error:
        with metrics.timed("decode") as decoding:
            picture, error = _decode(data, source)
        decode_seconds = decoding.seconds
    if error:
        logger.warning("task %s: %s", name_of(task), error, extra={"task": name_of(task)})
    return TaskImage(task, query, picture, error, fetching.seconds, decode_seconds, is_missing)


def name_of(task: Task) -> int | str:
    """What a task is called in sentences and log lines: its id, if that is one."""
    number = task.get("id")
    if isinstance(number, int) and abs(number) < 2**63:  # Label Studio's are 64-bit
        return number
    return shorten(number) if isinstance(number, str) else "?"


def check_image_keys(tasks: Sequence[Task], queries: Sequence[Query]) -> None:
    """Raise BadRequest when no task has any image that is asked about: the config is wrong."""
    values = [query.target.value for query in queries]
    if not any(value.is_in(task["data"]) for value in values for task in tasks):
        known = ", ".join(sorted({name for task in tasks for name in task["data"]})) or "none"
        raise BadRequest(
            f'The label config shows "{shorten(values[0].text)}", but no task has that key; the '
            f"keys are: {shorten(known, 300)}."
        )


def address_of(task: Task, target: ImageTarget) -> str:
    """The address of a task's image; raises NoImage."""
    try:
        return target.value.address(task["data"])
    except NoImage as problem:
        raise NoImage(f"Task {name_of(task)} has {problem}.") from None


def _fetch(
    source: Source, task: Task, target: ImageTarget, time_left: float
) -> tuple[bytes, str, bool]:
    """The bytes, or a sentence why there are none, and whether the task has no such image."""
    try:
        uri = address_of(task, target)
        return source.fetcher.fetch(uri, source.origin, task.get("id"), time_left), "", False
    except ImageError as problem:
        metrics.FAILURES.labels("fetch").inc()
        return b"", str(problem), isinstance(problem, NoImage)


def _decode(data: bytes, source: Source) -> tuple[Picture | None, str]:
    """The picture in `data`, decoded now or for an earlier request."""
    key = hashlib.sha256(data).hexdigest()
    picture = source.cache.get(("picture", key))
    if picture is not None:
        return picture, ""
    try:
        picture = Picture(decode(data, max_pixels=source.max_pixels), key)
    except ImageError as problem:
        metrics.FAILURES.labels("decode").inc()
        return None, str(problem)
    source.cache.put(("picture", key), picture, picture.pixels.nbytes)
    return picture, ""
