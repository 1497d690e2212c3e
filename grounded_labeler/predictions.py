"""Questions about tasks to Label Studio predictions: fetch, decode, find, draw, say."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grounded_labeler import metrics
from grounded_labeler.deadline import Deadline
from grounded_labeler.errors import CallerGone, GroundedLabelerError, NotReady, OutOfMemory
from grounded_labeler.executor import IsGone, always_there
from grounded_labeler.looks import Look, Task, check_image_keys, look_at, name_of
from grounded_labeler.pipeline import Found, Job
from grounded_labeler.questions import Question
from grounded_labeler.results import draw_regions, text_result, wants_masks
from grounded_labeler.service import Service
from grounded_labeler.status import describe
from grounded_labeler.targets import ImageTarget, LabelConfig

logger = logging.getLogger(__name__)

_TASK_LINE = (
    "task %(task)s: %(width)dx%(height)d, %(phrases)d phrases, %(found)d found; ms: "
    "fetch %(fetch_ms)d, decode %(decode_ms)d, detect %(detect_ms)d, segment %(segment_ms)d, "
    "encode %(encode_ms)d"
)

Result = dict[str, Any]
Prediction = dict[str, Any]


@dataclass(frozen=True)
class Predictor:
    """Answers the questions of one request.

    When `typed`, an annotator waits: every prediction has a `result`, and the status
    field is told what happened. Otherwise a task that failed has no `result`, which
    Label Studio skips and asks for again.
    """

    service: Service
    project_id: str
    config: LabelConfig
    model_version: str
    typed: bool
    is_gone: IsGone = always_there

    def predict(self, tasks: Sequence[Task], questions: Sequence[Question]) -> list[Prediction]:
        """One prediction per task, in order.

        Raises BadRequest when no task has the images, PromptError when a phrase is too
        long, NotReady when there are no models or too many requests, CallerGone when
        nobody waits for the answer.
        """
        if not questions:
            return [self.with_results([]) for _ in tasks]
        check_image_keys(tasks, questions)
        with self.service.executor.place():
            return self._predict(tasks, questions)

    def _predict(self, tasks: Sequence[Task], questions: Sequence[Question]) -> list[Prediction]:
        deadline = Deadline(self.service.settings.request_deadline, typed=self.typed)
        size = self.service.models().batch_size
        predictions: list[Prediction] = []
        while (first := len(predictions)) < len(tasks) and not (first and deadline.is_near()):
            try:
                predictions += self._batch(tasks[first : first + size], questions, deadline)
            except NotReady:
                if not first or self.typed:
                    raise
                break
        return predictions + self._unreached(tasks[len(predictions) :], deadline)

    def _batch(
        self, tasks: Sequence[Task], questions: Sequence[Question], deadline: Deadline
    ) -> list[Prediction]:
        """Predictions of the first tasks: of as many as there is time to fetch images for."""
        with deadline.lap():
            looks: list[Look] = []
            for task in tasks:
                if looks and deadline.left() <= 0:
                    break
                looks += [self._look(task, question, deadline) for question in questions]
            found = self._find(looks, deadline)
            return [
                self._prediction(looks[i : i + len(questions)], found[i : i + len(questions)])
                for i in range(0, len(looks), len(questions))
            ]

    def with_results(self, results: list[Result]) -> Prediction:
        """A prediction that Label Studio keeps; its score is the mean of its regions'."""
        # By id: a bare Rectangle and its label are two results of one region.
        scores = {result["id"]: result["score"] for result in results if "score" in result}
        score = round(sum(scores.values()) / len(scores), 4) if scores else 0.0
        return {"result": results, "score": score, "model_version": self.model_version}

    def without_result(self, reason: str) -> Prediction:
        """A prediction that Label Studio skips; `reason` is for people who read the answer."""
        return {"model_version": self.model_version, "error": reason}

    def _unreached(self, tasks: Sequence[Task], deadline: Deadline) -> list[Prediction]:
        if not tasks:
            return []
        logger.warning("%d tasks were not reached within %.0f s", len(tasks), deadline.seconds)
        metrics.TASKS.labels("not reached").inc(len(tasks))
        reason = f"Not reached within {deadline.seconds:.0f} s: ask again for this task."
        return [self.without_result(reason) for _ in tasks]

    def status(self, sentences: Sequence[tuple[ImageTarget, str]]) -> list[Result]:
        """What the status fields are told of each image; one without a field uses another's."""
        lines: dict[str, list[str]] = {}
        for target, sentence in sentences:
            if target.status_name:
                lines.setdefault(target.name, []).append(sentence)
            elif self.config.with_status:
                home = self.config.with_status[0]
                lines.setdefault(home.name, []).append(f"{target.name}: {sentence}")
        return [
            text_result(target.status_name, target, " ".join(lines[target.name]))
            for target in self.config.with_status
            if target.status_name and target.name in lines
        ]

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
                look.image,
                look.question.prompt,
                look.question.target.labels,
                look.question.thresholds,
                wants_masks(look.question.target, settings.output, has_segmenter),
            )
            for look in looks
            if look.image is not None
        ]
        answers = iter(self._run(jobs, deadline) if jobs else [])
        return [look.error if look.image is None else next(answers) for look in looks]

    def _run(self, jobs: Sequence[Job], deadline: Deadline) -> list[Found]:
        models = self.service.models()
        with metrics.QUEUE.track_inprogress():
            found = self.service.executor.run(
                lambda: models.run(jobs), self.is_gone, patience=deadline.patience()
            )
        for answer in found:
            metrics.STAGES.labels("detect").observe(answer.detect_seconds)
            if answer.masks is not None:
                metrics.STAGES.labels("segment").observe(answer.segment_seconds)
        return found

    def _prediction(self, looks: Sequence[Look], found: Sequence[Found | str]) -> Prediction:
        """The prediction of one task from all its images."""
        results: list[Result] = []
        sentences: list[tuple[ImageTarget, str]] = []
        for look, answer in zip(looks, found, strict=True):
            target = look.question.target
            if isinstance(answer, str) and not self.typed:
                metrics.TASKS.labels("failed").inc()
                return self.without_result(answer)
            if not isinstance(answer, str):
                results += self._regions(look, answer)
            if self.typed:
                sentences.append((target, _sentence(look.question, answer)))
            elif look.question.text is not None and target.prompt_name:
                # A remembered prompt is shown where the annotator would have typed it.
                results.append(text_result(target.prompt_name, target, look.question.text))
        failed = all(isinstance(answer, str) for answer in found)
        metrics.TASKS.labels("failed" if failed else "answered").inc()
        return self.with_results(results + self.status(sentences))

    def _regions(self, seen: Look, found: Found) -> list[Result]:
        height, width = found.size_hw
        with metrics.timed("encode") as encoding:
            regions = draw_regions(
                found.detections,
                found.masks,
                seen.question.target,
                (width, height),
                self.service.settings.output,
            )
        metrics.REGIONS.inc(len(found.detections))
        facts = {
            "task": name_of(seen.task),
            "width": width,
            "height": height,
            "phrases": len(seen.question.prompt.phrases),
            "found": len(found.detections),
            "fetch_ms": round(seen.fetch_seconds * 1000),
            "decode_ms": round(seen.decode_seconds * 1000),
            "detect_ms": round(found.detect_seconds * 1000),
            "segment_ms": round(found.segment_seconds * 1000),
            "encode_ms": round(encoding.seconds * 1000),
        }
        logger.info(_TASK_LINE, facts, extra=facts)
        return regions


def _sentence(question: Question, answer: Found | str) -> str:
    if isinstance(answer, str):
        return answer
    return describe(answer, question.prompt, question.target.labels, question.thresholds)
