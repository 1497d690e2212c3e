"""The run on a Ray cluster, as a pipeline of Ray Data: fetch and decode, find, draw.

Images are fetched and regions drawn by actors on CPUs; those that look at images hold the
models, each on a GPU where the cluster has some. What an actor had in hand when it ended is
done again by another. Predictions come back here, to be kept by the one process that knows
what is kept. https://docs.ray.io/en/latest/data says what Ray Data does. Needs
requirements-ray.txt.
"""

import json
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
from grounded_labeler.images.source import Source
from grounded_labeler.inference.loader import check_models, load_pipeline
from grounded_labeler.inference.ray_connection import join, last_line
from grounded_labeler.label_studio.inference_results import results_of
from grounded_labeler.label_studio.prediction_builder import PredictionBuilder
from grounded_labeler.label_studio.queries import Query
from grounded_labeler.label_studio.task_images import (
    Task,
    TaskImage,
    check_image_keys,
    load_task_image,
)
from grounded_labeler.models.detectors import GPU_BATCH
from grounded_labeler.preannotate.local_runner import Predictions, Run, reader_of
from grounded_labeler.service import label_studio_of
from grounded_labeler.settings import Settings

_BLOCK = 16  # tasks that travel together, and are done again together
_MAX_BLOCKS = 10_000

# A column of Python objects, and the columns of some rows.
_Column = NDArray[np.object_]
_Rows = dict[str, _Column]


def predictions_on_ray(
    run: Run, tasks: Sequence[Task], concurrency: int
) -> Generator[Predictions, None, None]:
    """What the cluster at RAY_ADDRESS answers, by task id, in whatever order it comes.

    Without RAY_ADDRESS a cluster of this machine alone is started, and ended afterwards.
    `concurrency` images are fetched at once by each of the actors that fetch. Raises
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
            yield {row["task"]: json.loads(row["prediction"])}
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
    # Fetching waits for the network and drawing is short: neither needs a core to itself.
    share = 0.25
    models = max(1, gpus or int((cores - 2 * share) / threads))
    blocks = min(math.ceil(len(tasks) / _BLOCK), _MAX_BLOCKS)
    helpers = (1, max(1, models // 2))
    return (
        ray.data.from_items([{"task": task} for task in tasks], override_num_blocks=blocks)
        .map_batches(
            _Looking, fn_constructor_args=_looking(run, concurrency),
            concurrency=helpers, num_cpus=share, batch_size=_BLOCK,
        )
        .map_batches(
            _Finding, fn_constructor_args=_finding(run, threads),
            concurrency=(1, models), num_cpus=threads, num_gpus=1 if gpus else 0,
            batch_size=GPU_BATCH if gpus else 1,
        )
        .map_batches(
            _Drawing, fn_constructor_args=_drawing(run),
            concurrency=helpers, num_cpus=share, batch_size=_BLOCK,
        )
    )  # fmt: skip


# What each kind of actor is given: Ray sends it to other machines and writes it down there.


def _looking(run: Run, concurrency: int) -> tuple[Settings, str, Sequence[Query], int]:
    """Addresses, and the token that opens them; its file may be on this machine alone."""
    settings = run.settings.without_secrets("label_studio_api_key")
    return settings, run.project, run.queries, concurrency


def _finding(run: Run, threads: int) -> tuple[Settings]:
    return (run.settings.without_secrets().model_copy(update={"cpu_threads": threads}),)


def _drawing(run: Run) -> tuple[PredictionBuilder]:
    return (run.answers,)


class _Looking:
    """Tasks to looks at their images, one for each question.

    The looks have no more of a task than its id: its data may hold signed addresses.
    """

    def __init__(
        self, settings: Settings, project: str, queries: Sequence[Query], concurrency: int
    ) -> None:
        reader = reader_of(settings, project)
        # An image is looked at once: nothing need be kept.
        self._source = Source(
            reader, label_studio_of(settings), ByteCache(0), settings.max_image_pixels
        )
        self._questions = queries
        self._hands = ThreadPoolExecutor(concurrency)

    def __call__(self, rows: _Rows) -> _Rows:
        return {"looks": _column(list(self._hands.map(self._look, rows["task"])))}

    def _look(self, task: Task) -> list[TaskImage]:
        looks = (load_task_image(self._source, task, one, math.inf) for one in self._questions)
        return [replace(look, task={"id": task["id"]}) for look in looks]


class _Finding:
    """Looks to what the models find; the images stay behind."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pipeline = load_pipeline(settings, ByteCache(settings.cache_bytes))

    def __call__(self, rows: _Rows) -> _Rows:
        looks: list[TaskImage] = [look for one in rows["looks"] for look in one]
        found = iter(results_of(looks, self._pipeline.run, self._settings))
        return {
            "looks": _column([[_without_pixels(look) for look in one] for one in rows["looks"]]),
            "found": _column([[next(found) for _ in one] for one in rows["looks"]]),
        }


def _without_pixels(look: TaskImage) -> TaskImage:
    """Only the key of the image, which its prediction is kept with."""
    nothing = np.zeros((0, 0, 3), np.uint8)
    return replace(look, image=look.image and DecodedImage(nothing, look.image.key))


class _Drawing:
    """What was found to predictions, as JSON."""

    def __init__(self, answers: PredictionBuilder) -> None:
        self._answers = answers

    def __call__(self, rows: _Rows) -> _Rows:
        drawn = [
            json.dumps(self._answers.of_task(looks, found))
            for looks, found in zip(rows["looks"], rows["found"], strict=True)
        ]
        tasks = [looks[0].task["id"] for looks in rows["looks"]]
        return {"task": _column(tasks), "prediction": _column(drawn)}


def _column(values: Sequence[Any]) -> _Column:
    # Not np.array(values): lists of one length would become a second dimension.
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
