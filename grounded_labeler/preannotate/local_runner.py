"""A run in this process: a task's images are loaded, then the models run, then masks are packed.

All three go on at once, each on another task: the models never wait for the other two where
these take less time than the models.
"""

import math
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from grounded_labeler import metrics
from grounded_labeler.console import tell, timed
from grounded_labeler.core.inference import InferenceResult, Outcome, Request
from grounded_labeler.inference.backend import Cancelled, InferenceBackend, Priority
from grounded_labeler.inference.loader import check_models
from grounded_labeler.label_studio.task_images import (
    Task,
    TaskImage,
    check_image_keys,
    load_task_image,
)
from grounded_labeler.preannotate.results import TaskOutcomes, infer, task_outcome
from grounded_labeler.preannotate.run import Run, reader_of
from grounded_labeler.service import Service, start_service

# Nobody waits as an annotator does, but a cluster may never serve what is asked for.
_LOADING_TIMEOUT_S = 600.0

# Batches: one that the models run on, and one in the queue, for the moment they are done with it.
AT_THE_MODELS = 2

Item = TypeVar("Item")
_Batch = Sequence[Sequence[TaskImage]]


def run_locally(
    run: Run, tasks: Sequence[Task], concurrency: int
) -> Generator[TaskOutcomes, None, None]:
    """A Runner that loads the models into this process, and yields tasks in their order."""
    check_image_keys(tasks, run.queries)
    check_models(run.settings)
    service = start_service(run.settings)
    backend = service.backend
    with timed(f"Loading {run.models}"):
        backend.wait_until_ready(_LOADING_TIMEOUT_S)
    if (runtime := backend.runtime) is not None:
        tell(f"Computed on {backend.device} by {runtime}")
        if runtime.warning is not None:
            tell(runtime.warning)
    yield from run_on(service, run, tasks, concurrency)


def run_on(
    service: Service, run: Run, tasks: Sequence[Task], concurrency: int
) -> Generator[TaskOutcomes, None, None]:
    """A Runner, but for `service`, whose models run; typed prompts and clicks go first.

    While the models run on one batch, the next one waits in their queue, `concurrency` more
    tasks are loaded, and the last batch is packed and written by whoever takes it.
    """
    check_image_keys(tasks, run.queries)
    backend = service.backend.of(run.settings.choice)
    service = replace(service, fetcher=reader_of(run.settings, run.project))
    ended = threading.Event()

    def load(task: Task) -> list[TaskImage]:
        source = service.source(run.project)  # with the token as it stands now
        return [load_task_image(source, task, query, math.inf) for query in run.queries]

    def run_models(requests: Sequence[Request]) -> list[InferenceResult]:
        return _run(backend, requests, ended.is_set)

    def begin(batch: _Batch) -> Future[TaskOutcomes]:
        outcomes = running.submit(infer, batch, run_models, run.settings)
        return packing.submit(lambda: _packed(batch, outcomes.result()))

    with (
        backend.hold(),
        _threads(concurrency, "load") as loading,
        _threads(AT_THE_MODELS, "run") as running,
        _threads(1, "pack") as packing,
    ):
        try:
            backend.wait_until_ready(_LOADING_TIMEOUT_S)
            size = backend.batch_size
            loaded = _ahead((loading.submit(load, task) for task in tasks), max(concurrency, size))
            yield from _ahead(map(begin, _batches(loaded, size)), AT_THE_MODELS)
        finally:
            ended.set()  # what waits in the queue leaves it


def _run(
    backend: InferenceBackend, requests: Sequence[Request], cancelled: Cancelled
) -> list[InferenceResult]:
    """Run a batch at a time, however many images a task has."""
    results: list[InferenceResult] = []
    for batch in _batches(iter(requests), backend.batch_size):
        with metrics.QUEUE.labels(Priority.PREANNOTATION.kind).track_inprogress():
            results += backend.run(batch, cancelled, math.inf, Priority.PREANNOTATION)
    return results


def _packed(batch: _Batch, outcomes: Sequence[Sequence[Outcome]]) -> TaskOutcomes:
    pairs = zip(batch, outcomes, strict=True)
    return {images[0].task["id"]: task_outcome(images, own) for images, own in pairs}


@contextmanager
def _threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads that nobody waits for when the block is left early."""
    threads = ThreadPoolExecutor(count, thread_name_prefix=name)
    try:
        yield threads
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _ahead(futures: Iterator[Future[Item]], count: int) -> Iterator[Item]:
    """Yield the results of `futures` in order; `count` more of them are begun before each."""
    begun = deque(islice(futures, count))
    for future in futures:
        begun.append(future)
        yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while batch := list(islice(items, size)):
        yield batch
