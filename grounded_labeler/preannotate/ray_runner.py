"""A run on a Ray cluster, as a pipeline of Ray Data: load images, run the models, pack masks.

Images are loaded and masks packed by actors on CPUs; those that infer hold the models, each on
a GPU where the cluster has some. What an actor had in hand when it ended is done again by
another. Results come back here, to be kept by the one process that knows what is kept.
https://docs.ray.io/en/latest/data says what Ray Data does. Needs requirements-ray.txt.
"""

import logging
import math
import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError

from grounded_labeler.cache import ByteCache
from grounded_labeler.console import timed
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import NotReady
from grounded_labeler.inference.loader import check_models, load_pipeline
from grounded_labeler.inference.ray_connection import join, last_line
from grounded_labeler.label_studio.queries import Query
from grounded_labeler.label_studio.task_images import (
    Task,
    TaskImage,
    check_image_keys,
    load_task_image,
)
from grounded_labeler.models.detectors import GPU_BATCH
from grounded_labeler.preannotate.results import (
    TaskOutcomes,
    from_json,
    infer,
    task_outcome,
    to_json,
)
from grounded_labeler.preannotate.run import Run, images_of
from grounded_labeler.settings import Settings

_BLOCK = 16  # tasks that travel together, and are done again together
_MAX_BLOCKS = 10_000

# A column of Python objects, and the columns of some rows.
_Column = NDArray[np.object_]
_Rows = dict[str, _Column]


def run_on_ray(
    run: Run, tasks: Sequence[Task], concurrency: int
) -> Generator[TaskOutcomes, None, None]:
    """A Runner on the cluster at RAY_ADDRESS, which yields tasks in whatever order they come.

    Without RAY_ADDRESS a cluster of this machine alone is started, and ended afterwards.
    `concurrency` tasks are loaded at once by each of the actors that load. Raises
    NotReady when Ray cannot be reached, or the actors cannot do their work.
    """
    check_image_keys(tasks, run.queries)
    check_models(run.settings)
    try:
        if run.settings.ray_address is None:
            _start()
        else:
            join(run.settings.ray_address)
        rows = iter(_pipeline(run, tasks, concurrency).iter_rows())
        with timed(f"Loading {run.models} on Ray, to the first image"):
            first = next(rows, None)
        for row in () if first is None else chain([first], rows):
            yield {row["task"]: from_json(row["outcome"])}
    except RayError as error:
        raise NotReady(f"Ray could not do the run: {last_line(error)}") from error
    finally:
        ray.shutdown()


def _start() -> None:
    # Ray reads these; what matters of its log comes as an error.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray.init(
        address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )


def _pipeline(run: Run, tasks: Sequence[Task], concurrency: int) -> ray.data.Dataset:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # there is one of ours
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cores, gpus = (int(resources.get(kind, 0)) for kind in ("CPU", "GPU"))
    threads = run.settings.cpu_threads or 1
    # Loading waits for the network and packing is short: neither needs a core to itself.
    share = 0.25
    models = max(1, gpus or int((cores - 2 * share) / threads))
    blocks = min(math.ceil(len(tasks) / _BLOCK), _MAX_BLOCKS)
    helpers = (1, max(1, models // 2))
    return (
        ray.data.from_items([{"task": task} for task in tasks], override_num_blocks=blocks)
        .map_batches(
            _Load, fn_constructor_args=_loading(run, concurrency),
            concurrency=helpers, num_cpus=share, batch_size=_BLOCK,
        )
        .map_batches(
            _Infer, fn_constructor_args=_inferring(run, threads),
            concurrency=(1, models), num_cpus=threads, num_gpus=1 if gpus else 0,
            batch_size=GPU_BATCH if gpus else 1,
        )
        .map_batches(_Pack, concurrency=helpers, num_cpus=share, batch_size=_BLOCK)
    )  # fmt: skip


# What each kind of actor is given: Ray sends it to other machines and writes it down there.


def _loading(run: Run, concurrency: int) -> tuple[Settings, str, Sequence[Query], int]:
    """Addresses, and the token that opens them; its file may be on this machine alone."""
    settings = run.settings.without_secrets("label_studio_api_key")
    return settings, run.project, run.queries, concurrency


def _inferring(run: Run, threads: int) -> tuple[Settings]:
    return (run.settings.without_secrets().model_copy(update={"cpu_threads": threads}),)


class _Load:
    """Tasks to their images, one for each query.

    The images have no more of a task than its id: its data may hold signed addresses.
    """

    def __init__(
        self, settings: Settings, project: str, queries: Sequence[Query], concurrency: int
    ) -> None:
        self._source = images_of(settings, project)
        self._queries = queries
        self._io_workers = ThreadPoolExecutor(concurrency)

    def __call__(self, rows: _Rows) -> _Rows:
        return {"images": _column(list(self._io_workers.map(self._load, rows["task"])))}

    def _load(self, task: Task) -> list[TaskImage]:
        images = (load_task_image(self._source, task, query, math.inf) for query in self._queries)
        return [replace(image, task={"id": task["id"]}) for image in images]


class _Infer:
    """Images to what the models return; the pixels stay behind."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pipeline = load_pipeline(settings, ByteCache(settings.cache_bytes))

    def __call__(self, rows: _Rows) -> _Rows:
        tasks: list[list[TaskImage]] = list(rows["images"])
        outcomes = infer(tasks, self._pipeline.run, self._settings)
        images = [[_without_pixels(image) for image in own] for own in tasks]
        return {"images": _column(images), "outcomes": _column(outcomes)}


def _without_pixels(image: TaskImage) -> TaskImage:
    """Only the key of the image, which its result is kept with."""
    nothing = np.zeros((0, 0, 3), np.uint8)
    return replace(image, image=image.image and DecodedImage(nothing, image.image.key))


class _Pack:
    """What the models return to the outcomes of tasks, as JSON: it takes little memory."""

    def __call__(self, rows: _Rows) -> _Rows:
        pairs = zip(rows["images"], rows["outcomes"], strict=True)
        packed = [to_json(task_outcome(images, outcomes)) for images, outcomes in pairs]
        tasks = [images[0].task["id"] for images in rows["images"]]
        return {"task": _column(tasks), "outcome": _column(packed)}


def _column(values: Sequence[Any]) -> _Column:
    # Not np.array(values): lists of one length would become a second dimension.
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
