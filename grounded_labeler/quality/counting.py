"""Count what is found, wrong and missed at many thresholds, without running a model again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.evaluation.matching import count_labels
from grounded_labeler.evaluation.types import Counts
from grounded_labeler.preannotate.results import TaskId
from grounded_labeler.quality.candidates import FLOOR, ScoredImage

Floats = NDArray[np.float64]


def thresholds_from(floor: float) -> Floats:
    """Return the thresholds to count at, float64 (T,) from `floor` to 0.95 in steps of 0.01."""
    # Rounded, as they are printed and written into label configs.
    return np.arange(np.ceil(round(floor * 100, 6)) / 100, 0.951, 0.01).round(2)


THRESHOLDS = thresholds_from(FLOOR)


@dataclass(frozen=True, eq=False)
class Counted:
    """What was found, wrong and missed in I images, by threshold and label.

    Attributes:
        tasks: the task of each image; one that has several images is there as often.
        labels: the L labels that were counted.
        thresholds: float64 (T,), rising.
        counts: int64 (I, T, L, 3); the last axis is FOUND, WRONG, MISSED.
    """

    tasks: tuple[TaskId, ...]
    labels: tuple[str, ...]
    thresholds: Floats
    counts: Counts

    @property
    def total(self) -> NDArray[np.int64]:
        """The counts of all images together, int64 (T, L, 3)."""
        total: NDArray[np.int64] = self.counts.sum(axis=0)
        return total


def count_images(
    images: Iterable[ScoredImage], labels: Sequence[str], thresholds: Floats = THRESHOLDS
) -> Counted:
    """Count in all images what `count_over` counts in one; they are read once, one by one."""
    tasks: list[TaskId] = []
    counts: list[NDArray[np.int64]] = []
    for image in images:
        tasks.append(image.task)
        counts.append(count_over(image, labels, thresholds))
    shape = (len(counts), len(thresholds), len(labels), 3)
    stacked = np.array(counts, np.int64).reshape(shape)
    return Counted(tuple(tasks), tuple(labels), thresholds, stacked)


def count_over(
    image: ScoredImage, labels: Sequence[str], thresholds: Floats = THRESHOLDS
) -> NDArray[np.int64]:
    """Count what the service would return of each label, were a threshold that of all labels.

    Detections are selected anew at each threshold, as they compete with each other. Negative
    phrases keep the threshold that holds for them: what they leave out is no label's affair.

    Args:
        image: with all candidates from the lowest threshold on.
        labels: what is counted; detections and objects of other labels are not.
        thresholds: float64 (T,), rising.

    Returns:
        int64 (T, L, 3), the last axis is FOUND, WRONG, MISSED at an IoU of 0.5.
    """
    if (np.diff(thresholds) < 0).any():
        raise ValueError("thresholds must rise")
    query, peaks = image.query, image.candidates.peaks
    held = np.array(query.box_thresholds, np.float64)
    swept = np.array([not phrase.negative for phrase in query.prompt.phrases], np.bool_)
    counts = np.zeros((len(thresholds), len(labels), 3), np.int64)
    last = -1
    for place, threshold in enumerate(thresholds):
        limits = np.where(swept, threshold, held)
        # As thresholds rise, the same number of scores that reach them are the same scores.
        reaching = int(np.count_nonzero(peaks >= limits))
        if reaching == last:
            counts[place] = counts[place - 1]
        else:
            counts[place] = count_labels(image.found(limits.tolist()), image.truth, labels)
        last = reaching
    return counts
