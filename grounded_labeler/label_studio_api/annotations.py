"""What people and models said of a task, as Label Studio keeps it, and which of it counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter

Regions = list[dict[str, Any]]

# What the `meta.text` of a region begins with that became an annotation without a person.
ACCEPTED = "accepted by grounded-labeler"


def _number_of(user: object) -> object:
    """A user's id: Label Studio gives it alone, or in an object."""
    return user.get("id") if isinstance(user, Mapping) else user


def _regions(result: object) -> object:
    """What looks like a result; Label Studio keeps null and whatever was imported, too."""
    return [item for item in result if isinstance(item, dict)] if isinstance(result, list) else []


UserId = Annotated[int | None, BeforeValidator(_number_of)]
Result = Annotated[Regions, BeforeValidator(_regions)]


@dataclass(frozen=True)
class PredictionSnapshot:
    """A prediction as Label Studio has it now.

    Attributes:
        id: its number.
        result: its regions.
        score: the score of the whole prediction, if it has one.
        model_version: which models made it.
        created_at: when it was made.
        updated_at: when it was last changed; who looked at it before saw another one.
    """

    id: int
    result: Result
    score: float | None
    model_version: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Annotation:
    """A submitted annotation.

    Attributes:
        id: its number.
        result: its regions, and whatever else the label config has people fill in.
        created_at: when it was submitted.
        updated_at: when it was last changed.
        completed_by: the user who made it, None for one whose account is gone.
        updated_by: the user who changed it last.
        parent_prediction: the prediction that it began as. Label Studio's editor begins with a
            copy of a prediction, of the project's model version first, whenever somebody opens a
            task that has predictions and no annotation, or presses "copy" on one, and sends its
            number as `parent_prediction` on Submit. So who has this number has seen the
            prediction. Whoever begins with nothing, as in a task that gets its predictions while
            it is open, has none, even where boxes of it were accepted as suggestions.
            None as well once the prediction is deleted.
        prediction: that prediction as it is now; None without `parent_prediction`, or where the
            predictions were not asked for. Label Studio keeps a second copy, `prediction` of its
            table: the first prediction of the project's model version at the time of Submit,
            looked at or not. Its API gives that one away in exports and webhooks only, and an
            export leaves a file on the server, so it is not read here.
        ground_truth: whether somebody starred it.
        was_cancelled: whether the task was skipped with it.
    """

    id: int
    result: Result
    created_at: datetime
    updated_at: datetime
    completed_by: UserId = None
    updated_by: UserId = None
    parent_prediction: int | None = None
    prediction: PredictionSnapshot | None = None
    ground_truth: bool = False
    was_cancelled: bool = False

    @property
    def is_accepted(self) -> bool:
        """Whether it is a prediction that this service made an annotation, without a person."""
        return any(_is_marked(region) for region in self.result)

    @property
    def saw_prediction(self) -> bool:
        """Whether the annotator began with `prediction` as it still is."""
        return self.prediction is not None and self.prediction.updated_at <= self.created_at


@dataclass(frozen=True)
class AnnotatedTask:
    """A task with the annotation that counts; `data` is what it was imported with."""

    id: int
    data: dict[str, Any]
    annotation: Annotation

    @property
    def result(self) -> Regions:
        """The regions of the annotation."""
        return self.annotation.result


@dataclass(frozen=True)
class PredictedTask:
    """A task with its newest prediction of one model version.

    Attributes:
        id: its number.
        data: what it was imported with.
        prediction: the prediction.
        annotations: how many annotations it has that are not cancelled, by whomever.
        skips: how often it was skipped.
        has_draft: whether anybody has begun an annotation and not submitted it.
    """

    id: int
    data: dict[str, Any]
    prediction: PredictionSnapshot
    annotations: int
    skips: int
    has_draft: bool

    @property
    def is_untouched(self) -> bool:
        """Whether nobody has annotated or skipped it, or begun to."""
        return not (self.annotations or self.skips or self.has_draft)


_ANNOTATIONS = TypeAdapter(list[Annotation])
_PREDICTIONS = TypeAdapter(list[PredictionSnapshot])


def read_annotations(task: Mapping[str, Any]) -> list[Annotation]:
    """Read the annotations of a task of `/api/tasks`, each with the prediction it began as.

    Raises ValueError for what is none.
    """
    predictions = {one.id: one for one in read_predictions(task)}
    raw = [
        {**one, "prediction": predictions.get(one.get("parent_prediction"))}
        for one in task.get("annotations") or ()
    ]
    return _ANNOTATIONS.validate_python(raw)


def read_predictions(task: Mapping[str, Any]) -> list[PredictionSnapshot]:
    """Read the predictions of a task of `/api/tasks`; raises ValueError for what is none."""
    return _PREDICTIONS.validate_python(list(task.get("predictions") or ()))


def counting_annotation(
    annotations: Sequence[Annotation], user: int | None = None, *, with_accepted: bool = False
) -> Annotation | None:
    """The annotation that counts: a ground truth first, else the one that was changed last.

    Cancelled ones never count, nor, with `user`, those of others. Predictions that became
    annotations without a person count only `with_accepted`, where no person submitted one.
    """
    candidates = [
        one
        for one in annotations
        if not one.was_cancelled
        and (with_accepted or not one.is_accepted)
        and (user is None or one.completed_by == user)
    ]
    return max(
        candidates,
        key=lambda one: (not one.is_accepted, one.ground_truth, one.updated_at, one.id),
        default=None,
    )


def _is_marked(region: Mapping[str, Any]) -> bool:
    meta = region.get("meta")
    text = meta.get("text") if isinstance(meta, dict) else None
    lines = text if isinstance(text, list) else [text]
    return any(isinstance(line, str) and line.startswith(ACCEPTED) for line in lines)
