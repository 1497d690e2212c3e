"""One image of one task and what is asked of it: fetched and decoded, or why not."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grounded_labeler import metrics, tracing
from grounded_labeler._text import shorten
from grounded_labeler.core.inference import Failure, FailureCause
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import BadRequest, ImageError, NoImage, PromptError
from grounded_labeler.images.decode import decode, looks_unstretched
from grounded_labeler.images.depth import NEARLY_BLACK
from grounded_labeler.images.source import Source, image_key
from grounded_labeler.label_studio.queries import AnyQuery, Query
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.request_context import task_named

logger = logging.getLogger(__name__)

Task = Mapping[str, Any]

# Of the cache, for decoded images: to decode one of 12 megapixels, 36 MB, takes 0.2 s, and to
# encode it for clicks, 4 MB, seconds.
_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class TaskImage:
    """One image of one task and the query for it; no `image` when `failure` says why.

    `is_nearly_black` tells that the image has more than 8 bits a channel, was not stretched and
    should have been; the query then says so to the annotator.
    """

    task: Task
    query: AnyQuery
    image: DecodedImage | None
    failure: Failure | None
    fetch_seconds: float
    decode_seconds: float
    is_nearly_black: bool = False


def load_task_image(source: Source, task: Task, query: AnyQuery, time_left: float) -> TaskImage:
    """Fetch, within `time_left` seconds, and decode one image.

    What fails is said in the TaskImage, so that the other tasks go on.
    """
    image, failure, seconds = None, None, {"fetch": 0.0, "decode": 0.0}
    is_nearly_black = False
    try:
        query = query.of_task(task["data"])
        with metrics.timed("fetch") as fetching:
            data = _fetch(source, task, query.target, time_left)
        seconds["fetch"] = fetching.seconds
        with metrics.timed("decode") as decoding:
            image = decode_cached(data, source, name_of(task))
            is_nearly_black = not source.stretch and looks_unstretched(
                data, image.pixels, max_pixels=source.max_pixels
            )
        seconds["decode"] = decoding.seconds
    except PromptError as problem:
        failure = Failure(str(problem), FailureCause.PROMPT)
        tracing.note_error(problem, is_fault=False)
        warn_of_task(task, problem)
    except _Failed as problem:
        failure = problem.failure
        warn_of_task(task, failure.reason)
        metrics.FAILURES.labels(failure.cause).inc()
    if is_nearly_black:
        warn_of_task(task, NEARLY_BLACK)
        if isinstance(query, Query):
            query = replace(query, remark=f"{query.remark} {NEARLY_BLACK}".strip())
    return TaskImage(
        task, query, image, failure, seconds["fetch"], seconds["decode"], is_nearly_black
    )


def warn_of_task(task: Task, reason: str | PromptError) -> None:
    """Write why a task has no result, or a poor one, into the log."""
    name = name_of(task)
    logger.warning("%s: %s", task_named(name), reason, extra={"task": name})


def load_image(source: Source, task: Task, target: ImageTarget, time_left: float) -> DecodedImage:
    """Fetch and decode one image; raises ImageError."""
    return decode_cached(_fetch(source, task, target, time_left), source, name_of(task))


def name_of(task: Task) -> int | str:
    """What a task is called in sentences and log lines: its id, if that is one."""
    number = task.get("id")
    if isinstance(number, int) and abs(number) < 2**63:  # Label Studio's are 64-bit
        return number
    return shorten(number) if isinstance(number, str) else "?"


def check_image_keys(tasks: Sequence[Task], queries: Sequence[AnyQuery]) -> None:
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


class _Failed(ImageError):
    """An image could not be had."""

    def __init__(self, reason: ImageError, cause: FailureCause) -> None:
        super().__init__(str(reason))
        self.failure = Failure(str(reason), cause)


def _fetch(source: Source, task: Task, target: ImageTarget, time_left: float) -> bytes:
    with tracing.span("fetch", task=name_of(task)):
        try:
            uri = address_of(task, target)
            data = source.fetcher.fetch(uri, source.origin, task.get("id"), time_left)
        except NoImage as problem:
            raise _Failed(problem, FailureCause.MISSING) from problem
        except ImageError as problem:
            raise _Failed(problem, FailureCause.FETCH) from problem
        tracing.note(bytes=len(data))
        return data


def decode_cached(data: bytes, source: Source, task: int | str | None = None) -> DecodedImage:
    """Return the image in `data`, decoded now or for an earlier request; raises ImageError.

    `task` is what its task is called, if it is of one.
    """
    with tracing.span("decode", task=task):
        key = image_key(hashlib.sha256(data).hexdigest(), stretch=source.stretch)
        image: DecodedImage | None = source.cache.get(("image", key))
        tracing.note(cached=image is not None)
        if image is None:
            image = _decode_new(data, source, key)
        height, width = image.pixels.shape[:2]
        tracing.note(width=width, height=height)
        return image


def _decode_new(data: bytes, source: Source, key: str) -> DecodedImage:
    try:
        pixels = decode(data, max_pixels=source.max_pixels, stretch=source.stretch)
        image = DecodedImage(pixels, key)
    except ImageError as problem:
        raise _Failed(problem, FailureCause.DECODE) from problem
    source.cache.put(("image", key), image, image.pixels.nbytes, share=_SHARE)
    return image
