"""Questions about tasks to Label Studio predictions: fetch, decode, find, draw, say."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grounded_labeler.errors import BadRequest, GroundedLabelerError, ImageError
from grounded_labeler.images import decode
from grounded_labeler.pipeline import Found, Job
from grounded_labeler.questions import Question
from grounded_labeler.results import draw_regions, text_result, wants_masks
from grounded_labeler.service import Service
from grounded_labeler.status import describe
from grounded_labeler.structures import RGBImage
from grounded_labeler.targets import ImageTarget, LabelConfig

logger = logging.getLogger(__name__)

# Label Studio gives up after 100 s and then keeps nothing of the answer.
_BUDGET_SECONDS = 90.0

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
    config: LabelConfig
    model_version: str
    typed: bool

    def predict(self, tasks: Sequence[Task], questions: Sequence[Question]) -> list[Prediction]:
        """One prediction per task, in order.

        Raises BadRequest when no task has the images, PromptError when a phrase is too
        long, NotReady when there are no models or too many requests.
        """
        if not questions:
            return [self.with_results([]) for _ in tasks]
        _check_image_keys(tasks, questions)
        with self.service.place():
            return self._predict(tasks, questions)

    def _predict(self, tasks: Sequence[Task], questions: Sequence[Question]) -> list[Prediction]:
        begin, longest = time.monotonic(), 0.0
        size = self.service.models().batch_size
        predictions: list[Prediction] = []
        for first in range(0, len(tasks), size):
            start = time.monotonic()
            late = start - begin + longest > _BUDGET_SECONDS
            if first and late and not self.typed:
                reason = f"Not reached within {_BUDGET_SECONDS:.0f} s: ask again for this task."
                logger.warning("%d of %d tasks were not reached", len(tasks) - first, len(tasks))
                return predictions + [self.without_result(reason) for _ in tasks[first:]]
            batch = tasks[first : first + size]
            looks = [self._look(task, question) for task in batch for question in questions]
            found = self._find(looks)
            for i in range(len(batch)):
                mine = slice(i * len(questions), (i + 1) * len(questions))
                predictions.append(self._prediction(looks[mine], found[mine]))
            longest = max(longest, time.monotonic() - start)
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

    def _find(self, looks: Sequence[Look]) -> list[Found | str]:
        """The models' answers, or the reason why there is none."""
        try:
            return self._ask_models(looks)
        except GroundedLabelerError:
            raise
        except Exception:
            logger.exception("The models failed on %d images", len(looks))
        if len(looks) == 1:
            return ["The models failed on this image: the service's log says why."]
        # One image that is too much for the memory must not take the others with it.
        return [answer for look in looks for answer in self._find([look])]

    def _ask_models(self, looks: Sequence[Look]) -> list[Found | str]:
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
        return [look.error if look.image is None else next(answers) for look in looks]

    def _prediction(self, looks: Sequence[Look], found: Sequence[Found | str]) -> Prediction:
        """The prediction of one task from all its images."""
        results: list[Result] = []
        sentences: list[tuple[ImageTarget, str]] = []
        for look, answer in zip(looks, found, strict=True):
            target = look.question.target
            if isinstance(answer, str) and not self.typed:
                return self.without_result(answer)
            if not isinstance(answer, str):
                results += self._regions(look, answer)
            if self.typed:
                sentences.append((target, _sentence(look.question, answer)))
            elif look.question.text is not None and target.prompt_name:
                # A remembered prompt is shown where the annotator would have typed it.
                results.append(text_result(target.prompt_name, target, look.question.text))
        return self.with_results(results + self.status(sentences))

    def _regions(self, look: Look, found: Found) -> list[Result]:
        start = time.monotonic()
        height, width = found.size_hw
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


def _sentence(question: Question, answer: Found | str) -> str:
    if isinstance(answer, str):
        return answer
    return describe(answer, question.prompt, question.target.labels, question.thresholds)


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
