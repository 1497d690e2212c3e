"""Compare two evaluations of the same images: what only one of them finds, or gets wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.evaluation.comparison import Difference, paired_bootstrap
from grounded_labeler.evaluation.matching import Matching, match
from grounded_labeler.evaluation.types import Found
from grounded_labeler.quality.figures import Figures
from grounded_labeler.quality.measure import Evaluation, JudgedImage

_SEED = 0  # the same images give the same interval


@dataclass(frozen=True)
class ComparedLabel:
    """How A and B differ in one label, or in all together.

    Attributes:
        label: the label; None for all together.
        truths: how many objects there are.
        both, only_a, only_b, neither: which of A and B found them.
        wrong_both, wrong_only_a, wrong_only_b: detections that are wrong, by who has them.
        f1: F1 of A and of B, and B's less A's, with the 95 % interval of a paired bootstrap.
    """

    label: str | None
    truths: int
    both: int
    only_a: int
    only_b: int
    neither: int
    wrong_both: int
    wrong_only_a: int
    wrong_only_b: int
    f1: Difference


@dataclass(frozen=True, eq=False)
class DifferentImage:
    """An image in which A and B are not equally right, and in how many places they differ."""

    a: JudgedImage
    b: JudgedImage
    only_a: int
    only_b: int
    wrong_only_a: int
    wrong_only_b: int

    @property
    def changes(self) -> int:
        """How many objects and wrong detections only one of both has."""
        return self.only_a + self.only_b + self.wrong_only_a + self.wrong_only_b


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two evaluations of the same images.

    Attributes:
        total: of all labels together.
        labels: by label.
        different: the images in which they differ, those that differ most first.
        images: how many images were compared.
    """

    total: ComparedLabel
    labels: tuple[ComparedLabel, ...]
    different: tuple[DifferentImage, ...]
    images: int


@dataclass(frozen=True)
class ComparisonFigures:
    """All that was compared, as plain values; `name_a` and `name_b` are how they were written."""

    name_a: str
    name_b: str
    total: ComparedLabel
    labels: tuple[ComparedLabel, ...]
    a: Figures
    b: Figures
    images: int
    different: tuple[int | str, ...]


def compare(a: Evaluation, b: Evaluation) -> Comparison:
    """Compare two evaluations image by image.

    Raises ValueError where they are not of the same images and labels.
    """
    if a.labels != b.labels:
        raise ValueError("both evaluations must be of the same labels")
    pairs = list(zip(a.images, b.images, strict=True))
    if any((one.task, one.target) != (other.task, other.target) for one, other in pairs):
        raise ValueError("both evaluations must be of the same images")
    labels = a.labels
    counts = np.array([_changes(one, other, labels) for one, other in pairs], np.int64)
    counts = counts.reshape(len(pairs), len(labels), 7)
    differences = paired_bootstrap(a.held, b.held, rng=np.random.default_rng(_SEED))
    rows = [
        _row(label, counts[:, place].sum(axis=0), differences.labels[place])
        for place, label in enumerate(labels)
    ]
    different = [
        DifferentImage(one, other, *(int(own[column]) for column in (1, 2, 5, 6)))
        for (one, other), own in zip(pairs, counts.sum(axis=1), strict=True)
    ]
    different = sorted((one for one in different if one.changes), key=lambda one: -one.changes)
    total = _row(None, counts.sum(axis=(0, 1)), differences.overall)
    return Comparison(total, tuple(rows), tuple(different), len(pairs))


def _row(label: str | None, counts: NDArray[np.int64], f1: Difference) -> ComparedLabel:
    both, only_a, only_b, neither, wrong_both, wrong_only_a, wrong_only_b = map(int, counts)
    return ComparedLabel(
        label=label,
        truths=both + only_a + only_b + neither,
        both=both,
        only_a=only_a,
        only_b=only_b,
        neither=neither,
        wrong_both=wrong_both,
        wrong_only_a=wrong_only_a,
        wrong_only_b=wrong_only_b,
        f1=f1,
    )


def _changes(a: JudgedImage, b: JudgedImage, labels: Sequence[str]) -> NDArray[np.int64]:
    """Count by label, int64 (L, 7): objects that both, only A, only B and neither found, then
    detections that are wrong of both, of A alone and of B alone.
    """
    counts = np.zeros((len(labels), 7), np.int64)
    of_truth = np.array(a.truth.labels, object)
    counted = ~a.truth.is_crowd
    in_a, in_b = ~a.matching.missed & counted, ~b.matching.missed & counted
    missed = ~in_a & ~in_b & counted
    present = set(a.truth.labels) | set(a.found.labels) | set(b.found.labels)
    for place, label in enumerate(labels):
        if label in present:
            own = of_truth == label
            for column, which in enumerate((in_a & in_b, in_a & ~in_b, in_b & ~in_a, missed)):
                counts[place, column] = (which & own).sum()
            wrong_a = _wrong(a.found, a.matching, label)
            wrong_b = _wrong(b.found, b.matching, label)
            both = int(match(wrong_b, wrong_a).right.sum())
            counts[place, 4:] = both, len(wrong_a) - both, len(wrong_b) - both
    return counts


def _wrong(found: Found, matching: Matching, label: str) -> NDArray[np.float32]:
    """The boxes of the detections of a label that are wrong, float32 (K, 4)."""
    rows = [row for row, name in enumerate(found.labels) if name == label and matching.wrong[row]]
    return found.boxes[rows]
