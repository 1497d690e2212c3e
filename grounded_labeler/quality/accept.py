"""From people's reviews to the predictions that may become annotations with nobody looking.

The promise: among the predicted objects of a label that are accepted, at least the promised part
is right in the long run, for all labels together with the stated confidence. It says nothing of
what the predictions miss, and among few accepted objects chance may have more wrong ones.
It holds where the reviewed tasks were drawn by chance from all that have predictions.

A task is accepted as a whole, so who looks at objects alone would be misled: images whose
objects are all certain may be another kind of image than those that certain objects lie in. So
 1. thresholds are searched with the weakest object of a label in a task standing for all of them
    there (`Objects.weakest`): what passes is what would be accepted, were there no other label;
 2. with the thresholds of all labels, the promise is tested once more on what would be accepted
    of the reviewed tasks. A label that fails there is not accepted, and neither is a task that
    has an object of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import Scores
from grounded_labeler.evaluation.acceptance import Acceptance, acceptance_threshold
from grounded_labeler.quality.reviews import Objects, Review


@dataclass(frozen=True)
class Promise:
    """At least this `precision`, in (0, 1), for all labels together at this `confidence`."""

    precision: float
    confidence: float = 0.95


@dataclass(frozen=True)
class LabelDecision:
    """What the reviews allow of one label.

    Attributes:
        label: its name.
        reviewed: how many predicted objects of it people reviewed.
        right: how many of those were right.
        threshold: the score from which its objects are accepted, in [0, 1]; None where nothing
            can be promised yet.
        accepted: how many of the reviewed objects would have been accepted, in tasks all of whose
            objects reach their labels' thresholds; 0 without a threshold.
        accepted_right: how many of those were right.
        bound: the precision of what is accepted is at least this; None without a threshold.
        needed: about how many more predicted objects of it people must review until a threshold
            can be promised, were they right as often as those so far; None where those were
            right too seldom for any number to be enough. 0 with a threshold.
    """

    label: str
    reviewed: int
    right: int
    threshold: float | None = None
    accepted: int = 0
    accepted_right: int = 0
    bound: float | None = None
    needed: int | None = 0


@dataclass(frozen=True)
class Decision:
    """What may be accepted, by label."""

    promise: Promise
    labels: tuple[LabelDecision, ...]

    def accepts(self, objects: Objects) -> bool:
        """Whether a task with these predicted objects, one at least, is accepted."""
        return _accepts(objects, self.thresholds)

    @property
    def thresholds(self) -> dict[str, float]:
        """The threshold of each label that has one."""
        return {one.label: one.threshold for one in self.labels if one.threshold is not None}


def decide(reviews: Sequence[Review], labels: Sequence[str], promise: Promise) -> Decision:
    """Find the lowest score of each label from which the promise can be made.

    The risk is shared by the labels that have enough reviews to pass at all (Bonferroni); how
    many reviews a label has says nothing of how often they were right.

    Args:
        reviews: what people found right, of predictions of one model version.
        labels: the labels that predictions have.
        promise: what to promise.
    """
    reviewed = _by_label(reviews)
    own = {label: reviewed.get(label, _NONE) for label in labels}
    risk = 1 - promise.confidence
    testable = _testable({label: len(one.right) for label, one in own.items()}, promise)
    decisions: dict[str, LabelDecision] = {}
    for label, one in own.items():
        shares = len(testable) + (label not in testable)
        found = _threshold(one, promise, risk / shares)
        decisions[label] = LabelDecision(
            label,
            len(one.right),
            int(one.right.sum()),
            found.threshold,
            needed=found.needed,
        )
    while passed := [label for label, one in decisions.items() if one.threshold is not None]:
        thresholds = Decision(promise, tuple(decisions.values())).thresholds
        accepted = _by_label([review for review in reviews if _accepts(review.objects, thresholds)])
        failed = False
        for label in passed:
            tested = accepted.get(label, _NONE)
            found = _single_test(tested, promise, risk / len(testable))
            decisions[label] = _tested(decisions[label], tested, found)
            failed |= decisions[label].threshold is None
        if not failed:
            break
    return Decision(promise, tuple(decisions.values()))


@dataclass(frozen=True, eq=False)
class _Sample:
    """Reviewed objects: the score each counts with, whether it was right, its task."""

    scores: Scores
    right: NDArray[np.bool_]
    tasks: NDArray[np.intp]


_NONE = _Sample(np.zeros(0, np.float32), np.zeros(0, np.bool_), np.zeros(0, np.intp))


def _by_label(reviews: Sequence[Review]) -> dict[str, _Sample]:
    scores: dict[str, list[float]] = {}
    right: dict[str, list[bool]] = {}
    tasks: dict[str, list[int]] = {}
    for review in reviews:
        weakest = review.objects.weakest
        for label, is_right in zip(review.objects.labels, review.right.tolist(), strict=True):
            scores.setdefault(label, []).append(weakest[label])
            right.setdefault(label, []).append(is_right)
            tasks.setdefault(label, []).append(review.task)
    return {
        label: _Sample(
            np.array(scores[label], np.float32),
            np.array(right[label], np.bool_),
            np.array(tasks[label], np.intp),
        )
        for label in scores
    }


def _testable(reviewed: Mapping[str, int], promise: Promise) -> set[str]:
    """The labels with so many reviews that they pass if all are right, when they share the risk."""
    by_reviews = sorted(reviewed, key=lambda label: (-reviewed[label], label))
    for count in range(len(by_reviews), 0, -1):
        risk = (1 - promise.confidence) / count
        if reviewed[by_reviews[count - 1]] >= math.log(risk) / math.log(promise.precision):
            return set(by_reviews[:count])
    return set()


def _threshold(sample: _Sample, promise: Promise, risk: float) -> Acceptance:
    return acceptance_threshold(
        sample.scores, sample.right, sample.tasks,
        precision=promise.precision, confidence=1 - risk,
    )  # fmt: skip


def _single_test(sample: _Sample, promise: Promise, risk: float) -> Acceptance:
    """Test all of them together: objects of one score have one threshold."""
    return _threshold(replace(sample, scores=np.zeros_like(sample.scores)), promise, risk)


def _tested(before: LabelDecision, tested: _Sample, found: Acceptance) -> LabelDecision:
    if found.threshold is not None:
        return replace(
            before,
            accepted=found.accepted,
            accepted_right=found.right,
            bound=found.bound,
        )
    needed = found.needed
    if needed is not None and len(tested.right):
        # Of those that people review, only a part would be accepted.
        needed = math.ceil(needed * before.reviewed / len(tested.right))
    return LabelDecision(before.label, before.reviewed, before.right, needed=needed)


def _accepts(objects: Objects, thresholds: Mapping[str, float]) -> bool:
    return (
        objects.is_whole
        and bool(objects.labels)
        and all(
            label in thresholds and weakest >= thresholds[label]
            for label, weakest in objects.weakest.items()
        )
    )
