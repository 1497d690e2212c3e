"""The results of a run, by task: what the models found in its images, or why there is nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grounded_labeler import metrics
from grounded_labeler.coco import CocoRle, coco_mask, coco_rle
from grounded_labeler.core.inference import (
    Failure,
    FailureCause,
    InferenceResult,
    Outcome,
    task_failure,
)
from grounded_labeler.core.types import Detections
from grounded_labeler.label_studio.inference_results import RunRequests, results_of
from grounded_labeler.label_studio.prediction_builder import count_image
from grounded_labeler.label_studio.task_images import TaskImage
from grounded_labeler.settings import Settings

TaskId = int | str


@dataclass(frozen=True, eq=False)
class ImageResult:
    """What the models found in one image, with masks that take little memory.

    Attributes:
        detections: N boxes in pixels of the displayed image, best score first.
        masks: a mask of `size_hw` for each detection; None without masks.
        size_hw: height and width of the displayed image in pixels.
        sha256: the digest of the image file, in hexadecimal digits.
        best_scores: for each phrase of the prompt, the highest score of any candidate, in [0, 1].
        seconds: how long the models took.
    """

    detections: Detections
    masks: tuple[CocoRle, ...] | None
    size_hw: tuple[int, int]
    sha256: str
    best_scores: tuple[float, ...]
    seconds: float

    @property
    def names(self) -> list[str]:
        """Each object's label, or else its phrase."""
        pairs = zip(self.detections.labels, self.detections.phrases, strict=True)
        return [label or phrase for label, phrase in pairs]

    def unpacked(self) -> InferenceResult:
        """The result as the models returned it."""
        masks = None if self.masks is None else [coco_mask(mask) for mask in self.masks]
        return InferenceResult(
            self.detections, masks, self.size_hw, self.best_scores, self.seconds, 0.0
        )


@dataclass(frozen=True, eq=False)
class TaskResult:
    """The results of one task's images, by the name of the Image tag.

    An image that the task does not have is a Failure; at least one is a result.
    """

    images: Mapping[str, ImageResult | Failure]

    @property
    def found(self) -> list[ImageResult]:
        """The results of the images that the task has."""
        return [image for image in self.images.values() if isinstance(image, ImageResult)]


TaskOutcome = TaskResult | Failure
TaskOutcomes = Mapping[TaskId, TaskOutcome]


def infer(
    tasks: Sequence[Sequence[TaskImage]], run: RunRequests, settings: Settings
) -> list[list[Outcome]]:
    """Return what `run` returns for each image of each task, as `results_of` does."""
    outcomes = iter(results_of([image for images in tasks for image in images], run, settings))
    return [[next(outcomes) for _ in images] for images in tasks]


def task_outcome(images: Sequence[TaskImage], outcomes: Sequence[Outcome]) -> TaskOutcome:
    """Make the outcome of one task of those of its images; they are counted and logged."""
    failure = task_failure(outcomes)
    metrics.TASKS.labels("answered" if failure is None else "failed").inc()
    if failure is not None:
        return failure
    pairs = zip(images, outcomes, strict=True)
    return TaskResult({image.query.target.name: _packed(image, one) for image, one in pairs})


def to_json(outcome: TaskOutcome) -> str:
    """Write an outcome as JSON, without loss."""
    if isinstance(outcome, Failure):
        return json.dumps(_document(outcome))
    return json.dumps({"images": {name: _document(one) for name, one in outcome.images.items()}})


def from_json(text: str) -> TaskOutcome:
    """Read what `to_json` wrote."""
    document = json.loads(text)
    if "images" not in document:
        return _failure(document)
    return TaskResult(
        {
            name: _failure(one) if "reason" in one else _image_result(one)
            for name, one in document["images"].items()
        }
    )


def _packed(image: TaskImage, outcome: Outcome) -> ImageResult | Failure:
    if isinstance(outcome, Failure):
        return outcome
    with metrics.timed("encode") as encoding:
        masks = None if outcome.masks is None else tuple(map(coco_rle, outcome.masks))
    count_image(image, outcome, encoding.seconds)
    return ImageResult(
        outcome.detections,
        masks,
        outcome.size_hw,
        "" if image.image is None else image.image.key,
        outcome.best_scores,
        outcome.detect_seconds + outcome.segment_seconds,
    )


def _document(one: ImageResult | Failure) -> dict[str, Any]:
    if isinstance(one, Failure):
        return {"reason": one.reason, "cause": one.cause}
    return {
        "boxes": one.detections.boxes.tolist(),
        "scores": one.detections.scores.tolist(),
        "phrases": one.detections.phrases,
        "labels": one.detections.labels,
        "masks": one.masks,
        "size_hw": one.size_hw,
        "sha256": one.sha256,
        "best_scores": one.best_scores,
        "seconds": one.seconds,
    }


def _failure(document: dict[str, Any]) -> Failure:
    return Failure(document["reason"], FailureCause(document["cause"]))


def _image_result(document: dict[str, Any]) -> ImageResult:
    detections = Detections(
        np.array(document["boxes"], np.float32).reshape(-1, 4),
        np.array(document["scores"], np.float32),
        tuple(document["phrases"]),
        tuple(document["labels"]),
    )
    height, width = document["size_hw"]
    masks = document["masks"]
    return ImageResult(
        detections,
        None if masks is None else tuple(masks),
        (height, width),
        document["sha256"],
        tuple(document["best_scores"]),
        document["seconds"],
    )
