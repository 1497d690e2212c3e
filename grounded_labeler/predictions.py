"""Questions about tasks to Label Studio predictions: fetch, decode, find, draw, say."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grounded_labeler.errors import BadRequest, ImageError
from grounded_labeler.images import decode
from grounded_labeler.pipeline import Found, Job
from grounded_labeler.questions import Question
from grounded_labeler.results import draw_regions, text_result, wants_masks
from grounded_labeler.service import Service
from grounded_labeler.status import describe
from grounded_labeler.structures import RGBImage
from grounded_labeler.targets import ImageTarget

logger = logging.getLogger(__name__)

# Images held decoded at once: enough to fill a GPU's batch, few enough for any memory.
_TASKS_AT_ONCE = 8

Task = Mapping[str, Any]
Result = dict[str, Any]
Prediction = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Look:
    """One image of one task and the question asked of it; `image` is None when `error` says why."""

    task: Task
    question: Question
    image: RGBImage | None
    error: str
    fetch_seconds: float


@dataclass(frozen=True)
class Predictor:
    """Answers the questions of one request.

    When `typed`, an annotator waits: every prediction has a `result`, and the status
    field is told what happened. Otherwise a task that failed has no `result`, which
    Label Studio skips and asks for again.
    """

    service: Service
    project_id: str
    model_version: str
    typed: bool

    def predict(self, tasks: Sequence[Task], questions: Sequence[Question]) -> list[Prediction]:
        """One prediction per task, in order.

        Raises BadRequest when no task has the images, PromptError when a phrase is too
        long, NotReady when there are no models.
        """
        _check_image_keys(tasks, questions)
        predictions = []
        for start in range(0, len(tasks), _TASKS_AT_ONCE):
            batch = tasks[start : start + _TASKS_AT_ONCE]
            looks = [self._look(task, question) for task in batch for question in questions]
            found = self._find(looks)
            for i in range(len(batch)):
                mine = slice(i * len(questions), (i + 1) * len(questions))
                predictions.append(self._prediction(looks[mine], found[mine]))
        return predictions

    def with_results(self, results: list[Result]) -> Prediction:
        """A prediction that Label Studio keeps; its score is the mean of its regions'."""
        # By id: a bare Rectangle and its label are two results of one region.
        scores = {result["id"]: result["score"] for result in results if "score" in result}
        score = round(sum(scores.values()) / len(scores), 4) if scores else 0.0
        return {"result": results, "score": score, "model_version": self.model_version}

    def without_result(self, reason: str) -> Prediction:
        """A prediction that Label Studio skips; `reason` is for people who read the answer."""
        return {"model_version": self.model_version, "error": reason}

    def status(self, target: ImageTarget, sentence: str) -> list[Result]:
        """The line in the project's status field, if it has one."""
        return [text_result(target.status_name, target, sentence)] if target.status_name else []

    def _look(self, task: Task, question: Question) -> Look:
        """Fetch and decode one image; a failure is kept, so that the other tasks go on."""
        start = time.monotonic()
        image, error = None, ""
        try:
            uri = _image_uri(task, question.target)
            origin = self.service.origin(self.project_id)
            data = self.service.fetcher.fetch(uri, origin, task_id=task.get("id"))
            image = decode(data, max_pixels=self.service.settings.max_image_pixels)
        except ImageError as problem:
            error = str(problem)
            logger.warning("task %s: %s", task.get("id"), error)
        return Look(task, question, image, error, time.monotonic() - start)

    def _find(self, looks: Sequence[Look]) -> list[Found | None]:
        """The models' answers, None where there is no image."""
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
        answers = iter(self.service.models().run(jobs) if jobs else [])
        return [None if look.image is None else next(answers) for look in looks]

    def _prediction(self, looks: Sequence[Look], found: Sequence[Found | None]) -> Prediction:
        """The prediction of one task from all its images."""
        results: list[Result] = []
        for look, answer in zip(looks, found, strict=True):
            target = look.question.target
            if look.image is not None and answer is not None:
                results += self._regions(look, look.image, answer)
                sentence = describe(
                    answer, look.question.prompt, target.labels, look.question.thresholds
                )
            elif self.typed:
                sentence = look.error
            else:
                return self.without_result(look.error)
            if self.typed:
                results += self.status(target, sentence)
            elif look.question.text is not None and target.prompt_name:
                # A remembered prompt is shown where the annotator would have typed it.
                results.append(text_result(target.prompt_name, target, look.question.text))
        return self.with_results(results)

    def _regions(self, look: Look, image: RGBImage, found: Found) -> list[Result]:
        start = time.monotonic()
        height, width = image.shape[:2]
        regions = draw_regions(
            found.detections,
            found.masks,
            look.question.target,
            (width, height),
            self.service.settings.output,
        )
        logger.info(
            "task %s: %dx%d, %d phrases, %d found; ms: fetch %d, detect %d, segment %d, encode %d",
            look.task.get("id"), width, height, len(look.question.prompt.phrases),
            len(found.detections), look.fetch_seconds * 1000, found.detect_seconds * 1000,
            found.segment_seconds * 1000, (time.monotonic() - start) * 1000,
        )  # fmt: skip
        return regions


def _check_image_keys(tasks: Sequence[Task], questions: Sequence[Question]) -> None:
    """Raise BadRequest when no task has an image that is asked about: the config is wrong."""
    for question in questions:
        key = question.target.data_key
        if not any(key in task["data"] for task in tasks):
            known = ", ".join(sorted({name for task in tasks for name in task["data"]})) or "none"
            raise BadRequest(
                f'The label config shows "${key}", but no task has that key; the keys are: {known}.'
            )


def _image_uri(task: Task, target: ImageTarget) -> str:
    uri = task["data"].get(target.data_key)
    if not isinstance(uri, str) or not uri:
        raise ImageError(f'Task {task.get("id")} has no image under the key "{target.data_key}".')
    return uri
