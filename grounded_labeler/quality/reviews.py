"""What people's reviews say of predictions: which predicted objects were right.

A review is an annotation that somebody began with a prediction of the model version in question,
as that prediction still is. An object of the prediction is right where the annotation has an
object of the same label that overlaps it enough.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import Boxes, Scores
from grounded_labeler.errors import PromptError
from grounded_labeler.evaluation.matching import match_labels
from grounded_labeler.evaluation.types import Found
from grounded_labeler.label_studio.annotations import AnnotationError, read_objects
from grounded_labeler.label_studio.context import results_in
from grounded_labeler.label_studio.regions import holds_region, object_of
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio.shapes import labels_of
from grounded_labeler.label_studio.task_labels import with_task_labels
from grounded_labeler.label_studio_api.annotations import AnnotatedTask, PredictedTask


class Reason(StrEnum):
    """Why an annotation says nothing of a prediction; each is a sentence's end."""

    TUNED = "they chose thresholds or phrases"
    NOT_SAMPLED = "they are not of the review sample"
    NOT_SEEN = "nobody began with the prediction as it is now"
    NOTHING = "the prediction has no object"
    NOT_WHOLE = "a predicted region has no score, no label of the label config, or no shape"
    UNREADABLE = "the annotation cannot be laid on the prediction's image"


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects that the prediction of one task has on its images, N in all.

    Attributes:
        labels: the label of each object.
        scores: float32 (N,), in [0, 1].
        is_whole: whether each region of the prediction is part of one of the objects. Where one
            has no score, or no label of the label config, nothing can be promised of the task.
    """

    labels: tuple[str, ...]
    scores: Scores
    is_whole: bool

    @property
    def weakest(self) -> dict[str, float]:
        """The lowest score of each label.

        A task is accepted as a whole: an object is only accepted together with the others, so
        it counts with the score of the weakest of its label.
        """
        least: dict[str, float] = {}
        for label, score in zip(self.labels, self.scores.tolist(), strict=True):
            least[label] = min(score, least.get(label, score))
        return least


@dataclass(frozen=True, eq=False)
class Review:
    """What one annotation says of the prediction that it began with.

    `right` is bool (N,): which of the prediction's objects the annotation has.
    """

    task: int
    annotation: int
    prediction: int
    objects: Objects
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Reviews:
    """The reviews that count, and the annotated tasks that do not, by reason."""

    counted: tuple[Review, ...]
    passed_over: Mapping[Reason, tuple[int, ...]]

    @property
    def tasks(self) -> set[int]:
        """The annotated tasks, whether their reviews count or not."""
        return {review.task for review in self.counted}.union(*self.passed_over.values())


def read_reviews(
    annotated: Sequence[AnnotatedTask],
    predicted: Sequence[PredictedTask],
    targets: Sequence[ImageTarget],
    *,
    min_iou: float,
    tuned: Collection[int] = (),
    sample: Collection[int] | None = None,
) -> Reviews:
    """Read which predicted objects people found right.

    Args:
        annotated: the tasks that people annotated, each with the annotation that counts.
        predicted: the tasks that have a prediction of the model version.
        targets: the images of the label config.
        min_iou: the least intersection over union of the boxes of one object, in (0, 1].
        tuned: tasks that thresholds or phrases were chosen on: who chose them by these, cannot
            promise anything by them.
        sample: the tasks that were drawn by chance to be reviewed, None where none were drawn.
    """
    predictions = {task.id: task.prediction for task in predicted}
    counted: list[Review] = []
    passed_over: dict[Reason, list[int]] = {}
    for task in annotated:
        prediction = predictions.get(task.id)
        if prediction is None:
            continue
        began_with = task.annotation.prediction
        review: Review | Reason
        if task.id in tuned:
            review = Reason.TUNED
        elif sample is not None and task.id not in sample:
            review = Reason.NOT_SAMPLED
        elif (
            began_with is None
            or began_with.id != prediction.id
            or not task.annotation.saw_prediction
        ):
            review = Reason.NOT_SEEN
        else:
            own = [_with_labels(target, task.data) for target in targets]
            review = _review(task, prediction.id, prediction.result, own, min_iou)
        if isinstance(review, Review):
            counted.append(review)
        else:
            passed_over.setdefault(review, []).append(task.id)
    return Reviews(tuple(counted), {reason: tuple(tasks) for reason, tasks in passed_over.items()})


def objects_of(task: PredictedTask, targets: Sequence[ImageTarget]) -> Objects:
    """The objects of a task's prediction on all images of the label config.

    Their shapes are not looked at: masks take long to decode.
    """
    found: dict[object, tuple[str, float]] = {}
    is_whole = True
    for target in (_with_labels(target, task.data) for target in targets):
        for region in _regions(task.prediction.result, target):
            if region.label is None or region.score is None:
                is_whole = False
            else:
                same = object_of(region.id)
                found[target.name, same] = region.label, region.score
    labels = tuple(label for label, _ in found.values())
    return Objects(labels, np.array([score for _, score in found.values()], np.float32), is_whole)


def has_shapes(task: PredictedTask, targets: Sequence[ImageTarget]) -> bool:
    """Whether all objects of a prediction have a shape, as those have whose reviews count."""
    own = (_with_labels(target, task.data) for target in targets)
    return all(_read(task.prediction.result, target).is_whole for target in own)


@dataclass(frozen=True, eq=False)
class _OnImage:
    """The objects of a prediction on one image, best score first; `size_wh` where it has any."""

    found: Found
    size_wh: tuple[int, int] | None
    is_whole: bool


def _review(
    task: AnnotatedTask,
    prediction: int,
    result: Sequence[Mapping[str, Any]],
    targets: Sequence[ImageTarget],
    min_iou: float,
) -> Review | Reason:
    images = [_read(result, target) for target in targets]
    objects = _joined(images)
    if not objects.is_whole:
        return Reason.NOT_WHOLE
    if not objects.labels:
        return Reason.NOTHING
    right: list[NDArray[np.bool_]] = []
    for image, target in zip(images, targets, strict=True):
        if image.size_wh is not None:
            try:
                truth = read_objects(task.result, target, image.size_wh)
            except AnnotationError:
                return Reason.UNREADABLE
            right.append(match_labels(image.found, truth, min_iou=min_iou).right)
    return Review(task.id, task.annotation.id, prediction, objects, np.concatenate(right))


def _read(result: Sequence[Mapping[str, Any]], target: ImageTarget) -> _OnImage:
    """The objects of a prediction on one image.

    Regions of one score are read together: of one object, drawn as a box and a mask or in
    several polygons, all regions have its score.
    """
    by_score: dict[float, list[dict[str, Any]]] = {}
    names: dict[float, set[str]] = {}
    is_whole = True
    for region in _regions(result, target):
        if region.label is None or region.score is None:
            is_whole = False
        else:
            by_score.setdefault(region.score, []).extend(region.items)
            names.setdefault(region.score, set()).add(object_of(region.id))
    labels: list[str] = []
    scores: list[float] = []
    boxes: list[Boxes] = []
    size_wh: tuple[int, int] | None = None
    for score in sorted(by_score, reverse=True):
        try:
            read = read_objects(by_score[score], target, size_wh)
        except AnnotationError:
            is_whole = False
            continue
        # What has no area, say, could be accepted, and nobody can say whether it was right.
        is_whole &= len(read) >= len(names[score])
        size_wh = read.size_hw[::-1]
        labels += read.labels
        scores += [score] * len(read)
        boxes.append(read.boxes)
    found = Found(
        np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
        np.array(scores, np.float32),
        tuple(labels),
    )
    return _OnImage(found, size_wh, is_whole)


@dataclass(frozen=True)
class _Region:
    """The results of one region, which have one id; `label` is one that the config has."""

    id: str
    items: list[dict[str, Any]]
    label: str | None
    score: float | None


def _regions(result: Sequence[Mapping[str, Any]], target: ImageTarget) -> Iterator[_Region]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for place, item in enumerate(results_in({"result": list(result)})):
        if item.get("to_name") == target.name:
            groups.setdefault(str(item.get("id") or place), []).append(item)
    known = {label.value for label in target.labels}
    for name, items in groups.items():
        if holds_region(items, target):
            label = next((label for label in labels_of(items) if label in known), None)
            score = next((own for item in items if (own := _score(item)) is not None), None)
            yield _Region(name, items, label, score)


def _score(item: Mapping[str, Any]) -> float | None:
    score = item.get("score")
    if isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1:
        return float(score)
    return None


def _joined(images: Sequence[_OnImage]) -> Objects:
    return Objects(
        tuple(label for image in images for label in image.found.labels),
        np.concatenate([np.zeros(0, np.float32), *(image.found.scores for image in images)]),
        all(image.is_whole for image in images),
    )


def _with_labels(target: ImageTarget, data: Mapping[str, Any]) -> ImageTarget:
    """With the task's own labels; a task that has too many keeps those of the config."""
    try:
        return with_task_labels(target, data)
    except PromptError:
        return target
