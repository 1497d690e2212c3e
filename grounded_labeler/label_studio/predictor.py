"""Run queries on tasks and build their predictions."""

import logging
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass

from grounded_labeler import metrics
from grounded_labeler.core.inference import InferenceResult, Outcome, Request
from grounded_labeler.errors import CallerGone, NotReady
from grounded_labeler.inference.backend import (
    Cancelled,
    InferenceBackend,
    Priority,
    never_cancelled,
)
from grounded_labeler.inference.deadline import RequestDeadline
from grounded_labeler.label_studio.inference_results import results_of
from grounded_labeler.label_studio.prediction_builder import Prediction, PredictionBuilder
from grounded_labeler.label_studio.queries import AnyQuery
from grounded_labeler.label_studio.task_images import (
    Task,
    TaskImage,
    check_image_keys,
    load_task_image,
)
from grounded_labeler.request_context import RequestThreads
from grounded_labeler.service import Service
from grounded_labeler.weights.choice import ModelChoice

logger = logging.getLogger(__name__)

# Threads that fetch and decode for one request while the models run, and as many that encode
# regions: slow images must not hold up what was found.
_IO_WORKERS = 4

# The looks at the images of one task, begun.
_Looking = list["Future[TaskImage]"]


@dataclass(frozen=True)
class _Workers:
    """The threads of one request."""

    fetching: RequestThreads
    drawing: RequestThreads


@dataclass(frozen=True)
class Predictor:
    """Answers the questions of one request.

    While the models work for a batch, the next one is fetched and decoded: more than
    that only fills the memory.
    """

    service: Service
    choice: ModelChoice
    project_id: str
    answers: PredictionBuilder
    cancelled: Cancelled = never_cancelled
    priority: Priority = Priority.PREANNOTATION

    @property
    def _backend(self) -> InferenceBackend:
        return self.service.backend.of(self.choice)

    def predict(self, tasks: Sequence[Task], queries: Sequence[AnyQuery]) -> list[Prediction]:
        """One prediction per task, in order, as many as there is time for.

        Raises BadRequest when no task has the images, PromptError when a phrase is too
        long, NotReady when there are no models or too many requests, CallerGone when
        nobody waits for the answer.
        """
        if not queries:
            return [self.answers.with_results([]) for _ in tasks]
        check_image_keys(tasks, queries)
        seconds, typed = self.service.settings.request_deadline, self.answers.typed
        with self._workers() as workers:
            deadline = RequestDeadline(seconds, typed=typed, clock=self.service.clock)
            drawn: list[Future[list[Prediction]]] = []
            try:
                for batch in self._batches(tasks, queries, deadline, workers):
                    drawn.append(batch)
                    if deadline.is_near():
                        break
            except NotReady:
                if not drawn or typed:
                    raise
            predictions = [one for batch in drawn for one in batch.result()]
        return predictions + self._unreached(tasks[len(predictions) :], deadline)

    @contextmanager
    def _workers(self) -> Iterator[_Workers]:
        """A place at the models, which stay loaded, and the threads of one request."""
        with self.service.slot(self.priority), self._backend.hold():
            fetching = RequestThreads(_IO_WORKERS, thread_name_prefix="fetch")
            drawing = RequestThreads(_IO_WORKERS, thread_name_prefix="draw")
            try:
                yield _Workers(fetching, drawing)
            finally:
                for pool in (fetching, drawing):
                    pool.shutdown(wait=False, cancel_futures=True)

    def _batches(
        self,
        tasks: Sequence[Task],
        queries: Sequence[AnyQuery],
        deadline: RequestDeadline,
        workers: _Workers,
    ) -> Iterator["Future[list[Prediction]]"]:
        """The batches that the models have answered, being drawn."""
        self._backend.wait_until_ready()
        size = self._backend.batch_size
        batches = (tasks[first : first + size] for first in range(0, len(tasks), size))
        begun: list[_Looking] = []
        for batch in batches:
            current, begun = begun, self._begin(batch, queries, deadline, workers)
            if current:
                yield self._answer(current, deadline, workers)
        if begun:
            yield self._answer(begun, deadline, workers)

    def _begin(
        self,
        batch: Sequence[Task],
        queries: Sequence[AnyQuery],
        deadline: RequestDeadline,
        workers: _Workers,
    ) -> list[_Looking]:
        return [
            [workers.fetching.submit(self._look, task, one, deadline) for one in queries]
            for task in batch
        ]

    def _answer(
        self, looking: list[_Looking], deadline: RequestDeadline, workers: _Workers
    ) -> "Future[list[Prediction]]":
        with deadline.timed_batch():
            looks = _finish(looking, deadline)
            found = results_of(
                looks,
                lambda requests: self._run(requests, deadline),
                self.service.settings.output,
                self.choice.has_segmenter,
                deadline.tile_limit(self.service.settings.model_deadline, self.cancelled),
            )
        return workers.drawing.submit(self._draw, looks, found, len(looking[0]))

    def _look(self, task: Task, query: AnyQuery, deadline: RequestDeadline) -> TaskImage:
        if self.cancelled():
            raise CallerGone
        # A second at least: what has no time at all can never be had.
        time_left = max(deadline.left(), 1.0)
        return load_task_image(self.service.source(self.project_id), task, query, time_left)

    def _run(self, requests: Sequence[Request], deadline: RequestDeadline) -> list[InferenceResult]:
        """A batch at a time, however many images a task has: typed prompts go in between."""
        backend, results = self._backend, list[InferenceResult]()
        for first in range(0, len(requests), backend.batch_size):
            batch = requests[first : first + backend.batch_size]
            with metrics.QUEUE.labels(self.priority.kind).track_inprogress():
                results += backend.run(
                    batch, self.cancelled, deadline.queue_timeout(), self.priority
                )
        return results

    def _draw(
        self, looks: Sequence[TaskImage], found: Sequence[Outcome], per_task: int
    ) -> list[Prediction]:
        return [
            self.answers.of_task(looks[i : i + per_task], found[i : i + per_task])
            for i in range(0, len(looks), per_task)
        ]

    def _unreached(self, tasks: Sequence[Task], deadline: RequestDeadline) -> list[Prediction]:
        if not tasks:
            return []
        logger.warning("%d tasks were not reached within %.0f s", len(tasks), deadline.seconds)
        metrics.TASKS.labels("not reached").inc(len(tasks))
        reason = f"Not reached within {deadline.seconds:.0f} s: ask again for this task."
        return [self.answers.without_result(reason) for _ in tasks]


def _finish(looking: Sequence[_Looking], deadline: RequestDeadline) -> list[TaskImage]:
    """The looks at a batch's tasks: of the first one, and of those that come in time."""
    looks: list[TaskImage] = []
    for task in looking:
        left = deadline.left()
        if looks and wait(task, None if left == math.inf else max(left, 0)).not_done:
            break
        looks += [look.result() for look in task]
    return looks
