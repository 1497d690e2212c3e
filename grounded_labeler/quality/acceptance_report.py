"""What an acceptance came to: in words for who runs it, and in a file for who checks it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from grounded_labeler.console import tell
from grounded_labeler.quality.accept import LabelDecision
from grounded_labeler.quality.acceptance import Survey
from grounded_labeler.quality.files import write_whole
from grounded_labeler.quality.sample import Sample

PROMISE = (
    "The promise is about what is accepted being right, not about nothing being missed, and it "
    "holds in the long run: among few accepted objects chance may have more wrong ones."
)
_UNDRAWN = (
    "It holds where the reviewed tasks are a random sample of the project; `--sample N` draws one."
)


@dataclass(frozen=True)
class Basis:
    """Where, by whom and by which rules predictions were accepted.

    Attributes:
        url: the Label Studio.
        project: the number of the project.
        accepted_by: the e-mail address of the user that the annotations are by.
        min_iou: the overlap from which a predicted object was right.
        sample: the tasks whose reviews count.
        made_at: the time of the decision.
    """

    url: str
    project: int
    accepted_by: str
    min_iou: float
    sample: Sample
    made_at: datetime


def tell_survey(found: Survey, sample: Sample | None) -> None:
    """Write to standard output what the reviews allow, and what they do not."""
    predicted, promise = found.predicted, found.decision.promise
    tell(
        f"{_count(len(predicted.tasks), 'task')} with a prediction of {predicted.version}, "
        f"{_count(len(found.reviews.counted), 'review')} of them."
    )
    for reason, tasks in found.reviews.passed_over.items():
        tell(f"{_count(len(tasks), 'annotated task')} not counted: {reason}.")
    Console().print(_table(found))
    accepted, waiting = len(found.accepted), found.waiting
    tell(f"{_count(accepted, 'task')} can be accepted, {_count(waiting, 'task')} stay for people.")
    if found.decision.thresholds:
        tell(
            f"At a confidence of {promise.confidence:.0%}, for all labels together, at least "
            f"{promise.precision:g} of the accepted objects of each label are right. {PROMISE}"
        )
    if sample is None:
        tell(_UNDRAWN)
    elif sample.is_drawn:
        left = set(sample.tasks) - found.reviews.tasks
        if left:
            tell(
                f"{len(left)} of the {len(sample.tasks)} tasks of the review sample are not "
                "reviewed: review all of them, as those that are easy to review say too much good."
            )


def _table(found: Survey) -> Table:
    table = Table()
    table.add_column("label")
    for name in (
        "reviewed", "right", "accept from", "reviewed above", "right above", "precision at least",
        "unseen above",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    table.add_column("needs")
    above = found.above
    for one in found.decision.labels:
        figures = (one.reviewed, one.right)
        accepted: tuple[str, ...] = ("", "", "", "", "")
        if one.threshold is not None and one.bound is not None:
            accepted = (
                f"{one.threshold:.4f}", str(one.accepted), str(one.accepted_right),
                _rounded_down(one.bound), str(above[one.label]),
            )  # fmt: skip
        table.add_row(Text(one.label), *map(str, figures), *accepted, needs(one))
    return table


def _rounded_down(bound: float) -> str:
    """A bound to show, never more than it is."""
    return f"{int(bound * 1000) / 1000:.3f}"


def needs(one: LabelDecision) -> str:
    """What a label needs until something of it can be accepted; "" where it can."""
    if one.threshold is not None:
        return ""
    if one.needed is None:
        return "right too seldom: no number of reviews is enough"
    return f"about {one.needed:,} more reviewed objects"


def write_report(path: Path, found: Survey, basis: Basis, made: Mapping[int, int]) -> None:
    """Write all that the promise rests on, as JSON, so that somebody else can compute it again.

    Args:
        path: the file.
        found: the reviews and what was decided.
        basis: where, by whom and by which rules.
        made: the numbers of the annotations by their tasks. Accepted tasks that have none yet
            are listed too: who is stopped on the way may have made it.
    """
    decision, predicted = found.decision, found.predicted
    document = {
        "url": basis.url,
        "project": basis.project,
        "model_version": predicted.version,
        "accepted_by": basis.accepted_by,
        "made_at": basis.made_at.isoformat(timespec="seconds"),
        "promise": {**asdict(decision.promise), "min_iou": basis.min_iou, "means": PROMISE},
        "labels": [{**asdict(one), "above": found.above.get(one.label, 0)}
                   for one in decision.labels],
        "sample": {"tasks": basis.sample.tasks, "is_drawn": basis.sample.is_drawn},
        "reviews": [
            {
                "task": review.task,
                "annotation": review.annotation,
                "prediction": review.prediction,
                "objects": [
                    {"label": label, "score": round(score, 6), "right": right}
                    for label, score, right in zip(
                        review.objects.labels,
                        review.objects.scores.tolist(),
                        review.right.tolist(),
                        strict=True,
                    )
                ],
            }
            for review in found.reviews.counted
        ],
        "not_counted": {str(reason): tasks for reason, tasks in found.reviews.passed_over.items()},
        "accepted": [
            {
                "task": task.id,
                "annotation": made.get(task.id),
                "prediction": task.prediction.id,
            }
            for task in found.accepted
        ],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(document, indent=1, ensure_ascii=False))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
