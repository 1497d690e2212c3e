"""Accept the predictions of a project of Label Studio, and take that back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.regions import holds_region
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio_api.annotations import (
    ACCEPTED,
    Annotation,
    PredictedTask,
    Regions,
)
from grounded_labeler.label_studio_api.project import Project
from grounded_labeler.quality.accept import Decision, Promise, decide
from grounded_labeler.quality.reviews import Objects, Reviews, has_shapes, objects_of, read_reviews
from grounded_labeler.quality.sample import Sample

LEAST_CERTAIN = "Least certain first"
REVIEW_SAMPLE = "Review sample"

# An annotation is made with both times taken one after the other.
_SAME_MOMENT = timedelta(seconds=1)

Step = Callable[[int, int], None]  # how many are done, and of how many


class AcceptanceError(GroundedLabelerError):
    """Nothing can be accepted, or drawn; the message says why."""


@dataclass(frozen=True)
class Predicted:
    """The tasks of a project that have a prediction of one model version.

    Attributes:
        version: the model version.
        targets: the images of the label config.
        tasks: the tasks, by id.
        objects: the predicted objects of each task.
    """

    version: str
    targets: tuple[ImageTarget, ...]
    tasks: tuple[PredictedTask, ...]
    objects: Mapping[int, Objects]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that objects are predicted with, in the order of their names."""
        return tuple(sorted({label for one in self.objects.values() for label in one.labels}))

    def waiting(self) -> Iterator[tuple[PredictedTask, Objects]]:
        """The tasks that nobody has annotated or skipped, or begun to, with their objects."""
        for task in self.tasks:
            if task.is_untouched:
                yield task, self.objects[task.id]


@dataclass(frozen=True)
class Survey:
    """What the reviews of a project allow.

    Attributes:
        predicted: the tasks that have a prediction.
        reviews: what people say of the predictions.
        decision: what may be accepted, by label.
        accepted: the tasks that would become annotated, nobody having looked at them.
    """

    predicted: Predicted
    reviews: Reviews
    decision: Decision
    accepted: tuple[PredictedTask, ...]

    @property
    def waiting(self) -> int:
        """How many tasks stay for people."""
        return sum(1 for _ in self.predicted.waiting()) - len(self.accepted)

    @property
    def above(self) -> dict[str, int]:
        """How many predicted objects that nobody has looked at reach their label's threshold."""
        counts = dict.fromkeys(self.decision.thresholds, 0)
        for _, objects in self.predicted.waiting():
            for label, score in zip(objects.labels, objects.scores.tolist(), strict=True):
                if label in counts and score >= self.decision.thresholds[label]:
                    counts[label] += 1
        return counts


def read_predicted(project: Project, version: str | None) -> Predicted:
    """Read the predictions of a model version, or of the one that has the newest prediction.

    Raises AcceptanceError where there are none, LabelStudioError and BadRequest.
    """
    targets = read_label_config(project.label_config()).images
    tasks = project.predicted_tasks(version)
    if not tasks:
        of_version = "" if version is None else f' of the model version "{version}"'
        raise AcceptanceError(
            f"Project {project.number} has no predictions{of_version}: run "
            f"`grounded-labeler preannotate --project {project.number}` first."
        )
    return Predicted(
        tasks[0].prediction.model_version or "",
        targets,
        tuple(tasks),
        {task.id: objects_of(task, targets) for task in tasks},
    )


def survey(
    project: Project,
    predicted: Predicted,
    promise: Promise,
    *,
    min_iou: float,
    tuned: frozenset[int],
    sample: Sample | None,
) -> Survey:
    """Find out what the reviews of a project allow; see `read_reviews` and `decide`."""
    reviews = read_reviews(
        project.annotated_tasks(),
        predicted.tasks,
        predicted.targets,
        min_iou=min_iou,
        tuned=tuned,
        sample=None if sample is None else frozenset(sample.tasks),
    )
    decision = decide(reviews.counted, predicted.labels, promise)
    accepted = tuple(
        task
        for task, objects in predicted.waiting()
        if decision.accepts(objects) and has_shapes(task, predicted.targets)
    )
    return Survey(predicted, reviews, decision, accepted)


def accept(project: Project, found: Survey, day: date, step: Step) -> dict[int, int]:
    """Make annotations of the accepted predictions; returns their numbers by task.

    Whoever is stopped on the way calls it again with a new survey: a prediction becomes one
    annotation.
    """
    mark = f"{ACCEPTED}: precision {found.decision.promise.precision:g}, {day.isoformat()}"
    made: dict[int, int] = {}
    for task in found.accepted:
        result = marked(task.prediction.result, found.predicted.targets, mark)
        made[task.id] = project.annotate(task.id, result, task.prediction.id)
        step(len(made), len(found.accepted))
    return made


def marked(result: Regions, targets: Sequence[ImageTarget], mark: str) -> Regions:
    """Return the regions of a prediction as those of an annotation, each with the mark.

    The mark is a line in the region's Info panel. Regions say that they are of a prediction, as
    those that the editor copies do.
    """
    return [
        _marked(region, mark) if any(holds_region([region], one) for one in targets) else region
        for region in result
    ]


def _marked(region: Mapping[str, Any], mark: str) -> dict[str, Any]:
    meta = region.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    text = meta.get("text")
    lines = text if isinstance(text, list) else [text] if isinstance(text, str) else []
    return {**region, "origin": "prediction", "meta": {**meta, "text": [*lines, mark]}}


@dataclass(frozen=True)
class Revocation:
    """The accepted predictions that can be taken back, and how many cannot.

    Attributes:
        annotations: the numbers of those that can.
        changed: how many somebody changed since, or is changing.
        of_others: how many another user accepted.
    """

    annotations: tuple[int, ...]
    changed: int
    of_others: int


def revocable(project: Project) -> Revocation:
    """Find the annotations that this user accepted and that are still as they were made."""
    user = project.current_user().id
    drafted = project.drafted_tasks()
    own: list[int] = []
    changed = of_others = 0
    for task in project.accepted_tasks():
        if task.annotation.completed_by != user:
            of_others += 1
        elif task.id in drafted or _is_changed(task.annotation):
            changed += 1
        else:
            own.append(task.annotation.id)
    return Revocation(tuple(own), changed, of_others)


def _is_changed(annotation: Annotation) -> bool:
    return (
        annotation.updated_by not in (None, annotation.completed_by)
        or annotation.updated_at - annotation.created_at > _SAME_MOMENT
    )


def revoke(project: Project, annotations: Sequence[int], step: Step) -> None:
    """Delete these annotations; the tasks have their predictions again."""
    for done, number in enumerate(annotations, start=1):
        project.delete_annotations([number])
        step(done, len(annotations))
