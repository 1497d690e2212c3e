"""Questions about tasks to Label Studio predictions: fetch, decode, find, draw, say."""

import logging
import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from grounded_labeler import metrics
from grounded_labeler.answers import Answers, Prediction
from grounded_labeler.deadline import Deadline
from grounded_labeler.errors import CallerGone, GroundedLabelerError, NotReady, OutOfMemory
from grounded_labeler.executor import IsGone, always_there
from grounded_labeler.looks import Look, Task, check_image_keys, look_at, name_of
from grounded_labeler.pipeline import Found, Job
from grounded_labeler.questions import Question
from grounded_labeler.results import wants_masks
from grounded_labeler.service import Service

logger = logging.getLogger(__name__)

# Threads that fetch, decode and draw for one request while the models work for it.
_HANDS = 4

# The looks at the images of one task, begun.
_Looking = list["Future[Look]"]


@dataclass(frozen=True)
class Predictor:
    """Answers the questions of one request."""

    service: Service
    project_id: str
    answers: Answers
    is_gone: IsGone = always_there

    def predict(self, tasks: Sequence[Task], questions: Sequence[Question]) -> list[Prediction]:
        """One prediction per task, in order.

        Raises BadRequest when no task has the images, PromptError when a phrase is too
        long, NotReady when there are no models or too many requests, CallerGone when
        nobody waits for the answer.
        """
        if not questions:
            return [self.answers.with_results([]) for _ in tasks]
        check_image_keys(tasks, questions)
        with self.service.executor.place():
            return self._predict(tasks, questions)

    def _predict(self, tasks: Sequence[Task], questions: Sequence[Question]) -> list[Prediction]:
        deadline = Deadline(self.service.settings.request_deadline, typed=self.answers.typed)
        size = self.service.models().batch_size
        batches = [tasks[first : first + size] for first in range(0, len(tasks), size)]
        drawn: list[Future[list[Prediction]]] = []
        pool = ThreadPoolExecutor(_HANDS, thread_name_prefix="hands")

        def begin(batch: Sequence[Task]) -> list[_Looking]:
            return [
                [pool.submit(self._look, task, question, deadline) for question in questions]
                for task in batch
            ]

        try:
            ahead = begin(batches[0])
            for following in (*batches[1:], ()):
                # One batch ahead: more would only fill the memory.
                looking, ahead = ahead, begin(following)
                try:
                    with deadline.lap():
                        looks = _finish(looking, deadline)
                        found = self._find(looks, deadline)
                except NotReady:
                    if not drawn or self.answers.typed:
                        raise
                    break
                drawn.append(pool.submit(self._draw, looks, found, len(questions)))
                if deadline.is_near():
                    break
            predictions = [one for batch in drawn for one in batch.result()]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return predictions + self._unreached(tasks[len(predictions) :], deadline)

    def _draw(
        self, looks: Sequence[Look], found: Sequence[Found | str], per_task: int
    ) -> list[Prediction]:
        return [
            self.answers.of_task(looks[i : i + per_task], found[i : i + per_task])
            for i in range(0, len(looks), per_task)
        ]

    def _unreached(self, tasks: Sequence[Task], deadline: Deadline) -> list[Prediction]:
        if not tasks:
            return []
        logger.warning("%d tasks were not reached within %.0f s", len(tasks), deadline.seconds)
        metrics.TASKS.labels("not reached").inc(len(tasks))
        reason = f"Not reached within {deadline.seconds:.0f} s: ask again for this task."
        return [self.answers.without_result(reason) for _ in tasks]

    def _look(self, task: Task, question: Question, deadline: Deadline) -> Look:
        if self.is_gone():
            raise CallerGone
        # A second at least: what has no time at all can never be had.
        time_left = max(deadline.left(), 1.0)
        return look_at(self.service, self.project_id, task, question, time_left)

    def _find(self, looks: Sequence[Look], deadline: Deadline) -> list[Found | str]:
        """The models' answers, or the reason why there is none."""
        try:
            return self._ask_models(looks, deadline)
        except GroundedLabelerError:
            raise
        except OutOfMemory as error:
            logger.warning("The memory is too small for %d images: %s", len(looks), error)
            cause, reason = "out of memory", "This image needs more memory than there is."
        except Exception:
            logger.exception("The models failed on %d images", len(looks))
            cause = "model"
            reason = "The models failed on this image: the service's log says why."
        if len(looks) == 1:
            task = name_of(looks[0].task)
            logger.warning("task %s: %s", task, reason, extra={"task": task})
            metrics.FAILURES.labels(cause).inc()
            return [reason]
        # One image that is too much for the memory must not take the others with it.
        return [answer for look in looks for answer in self._find([look], deadline)]

    def _ask_models(self, looks: Sequence[Look], deadline: Deadline) -> list[Found | str]:
        settings, has_segmenter = self.service.settings, self.service.has_segmenter
        jobs = [
            Job(
                look.picture,
                look.question.prompt,
                look.question.target.labels,
                look.question.thresholds,
                wants_masks(look.question.target, settings.output, has_segmenter),
            )
            for look in looks
            if look.picture is not None
        ]
        answers = iter(self._run(jobs, deadline) if jobs else [])
        return [look.error if look.picture is None else next(answers) for look in looks]

    def _run(self, jobs: Sequence[Job], deadline: Deadline) -> list[Found]:
        service = self.service
        with metrics.QUEUE.track_inprogress():
            found = service.batcher.run(
                service.models(), jobs, self.is_gone, patience=deadline.patience()
            )
        for answer in found:
            metrics.STAGES.labels("detect").observe(answer.detect_seconds)
            if answer.masks is not None:
                metrics.STAGES.labels("segment").observe(answer.segment_seconds)
        return found


def _finish(looking: Sequence[_Looking], deadline: Deadline) -> list[Look]:
    """The looks at a batch's tasks: of the first one, and of those that come in time."""
    looks: list[Look] = []
    for task in looking:
        left = deadline.left()
        if looks and wait(task, None if left == math.inf else max(left, 0)).not_done:
            break
        looks += [look.result() for look in task]
    return looks
