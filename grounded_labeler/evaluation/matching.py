"""Matches what a detector found with what people say is there, as COCO's own evaluation does.

An object is found where a detection of its label overlaps it by `min_iou` or more (intersection
over union). Each detection takes one object at most, and each object is taken once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.boxes import box_coverage, box_iou
from grounded_labeler.core.types import Boxes
from grounded_labeler.evaluation.types import FOUND, MISSED, WRONG, Found, Truth


@dataclass(frozen=True, eq=False)
class Matching:
    """Which of T true objects each of N detections found.

    Attributes:
        truth_of: intp (N,), the index of the object that a detection found, -1 for none.
        ignored: bool (N,), which detections are neither right nor wrong: they lie in a crowd.
        iou: float32 (N,), the overlap with that object, in [0, 1]; for an ignored detection the
            part of it that lies in the crowd; 0 for a wrong one.
        missed: bool (T,), which objects nothing found; never a crowd.
    """

    truth_of: NDArray[np.intp]
    ignored: NDArray[np.bool_]
    iou: NDArray[np.float32]
    missed: NDArray[np.bool_]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which detections found an object: bool (N,)."""
        return self.truth_of >= 0

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Which detections found nothing and lie in no crowd: bool (N,)."""
        return (self.truth_of < 0) & ~self.ignored


def match(
    found_boxes: Boxes,
    truth_boxes: Boxes,
    *,
    min_iou: float = 0.5,
    is_crowd: NDArray[np.bool_] | None = None,
) -> Matching:
    """Match boxes greedily, whatever their labels, as `COCOeval.evaluateImg` does.

    Each detection in turn takes the object with the highest overlap among those that none
    before it has taken and that it overlaps by `min_iou` or more; of equal overlaps the last.
    A detection that finds no object, but of which `min_iou` or more lies in a crowd, is
    ignored; a crowd takes any number of them.

    Args:
        found_boxes: float32 (N, 4), xyxy in pixels, best score first.
        truth_boxes: float32 (T, 4), xyxy in pixels.
        min_iou: the least overlap, in (0, 1].
        is_crowd: bool (T,), which objects are crowds; None for no crowd.
    """
    crowd = np.zeros(len(truth_boxes), np.bool_) if is_crowd is None else is_crowd
    allowed = np.ones((len(found_boxes), len(truth_boxes)), np.bool_)
    return _match(_overlaps(found_boxes, truth_boxes, crowd), allowed, crowd, min_iou)


def match_labels(found: Found, truth: Truth, *, min_iou: float = 0.5) -> Matching:
    """Match as `match` does, but only detections and objects of the same label."""
    overlaps = _overlaps(found.boxes, truth.boxes, truth.is_crowd)
    return _match(overlaps, _same_label(found, truth), truth.is_crowd, min_iou)


def count_labels(
    found: Found, truth: Truth, labels: Sequence[str], *, min_iou: float = 0.5
) -> NDArray[np.int64]:
    """Count what is found, wrong and missed of each label in one image.

    Detections and objects of other labels than `labels` are not counted.

    Returns:
        int64 (L, 3), by label; the last axis is FOUND, WRONG, MISSED. Found and missed together
        are the objects of the label that are not crowds.
    """
    matching = match_labels(found, truth, min_iou=min_iou)
    of_found, of_truth = _numbers(found.labels, labels), _numbers(truth.labels, labels)
    counts = np.zeros((len(labels) + 1, 3), np.int64)
    np.add.at(counts[:, FOUND], of_found[matching.right], 1)
    np.add.at(counts[:, WRONG], of_found[matching.wrong], 1)
    np.add.at(counts[:, MISSED], of_truth[matching.missed], 1)
    return counts[: len(labels)]


def confusion(
    found: Found, truth: Truth, labels: Sequence[str], *, min_iou: float = 0.5
) -> NDArray[np.int64]:
    """Count which label was found where which label is true, in one image.

    Detections are matched within their label first, as `count_labels` does. Those that are wrong
    are then matched, best score first, with the objects that are still missed, whatever the
    labels. So the diagonal is what `count_labels` calls found, the rest of a row is what it calls
    missed, and the rest of a column what it calls wrong. Detections and objects of other labels
    than `labels` are left out.

    Returns:
        int64 (L + 1, L + 1), rows are true labels, columns found ones. The last column counts
        objects where nothing was found, the last row detections where nothing is.
    """
    nothing = len(labels)
    of_found, of_truth = _numbers(found.labels, labels), _numbers(truth.labels, labels)
    matching = match_labels(found, truth, min_iou=min_iou)
    wrong = np.flatnonzero(matching.wrong & (of_found < nothing))
    missed = np.flatnonzero(matching.missed & (of_truth < nothing))
    rest = match(found.boxes[wrong], truth.boxes[missed], min_iou=min_iou)

    table = np.zeros((nothing + 1, nothing + 1), np.int64)
    right = matching.right & (of_found < nothing)
    np.add.at(table, (of_found[right], of_found[right]), 1)
    taken = missed[rest.truth_of[rest.right]]
    np.add.at(table, (of_truth[taken], of_found[wrong[rest.right]]), 1)
    np.add.at(table[nothing], of_found[wrong[rest.wrong]], 1)
    np.add.at(table[:, nothing], of_truth[missed[rest.missed]], 1)
    return table


def _overlaps(
    found_boxes: Boxes, truth_boxes: Boxes, is_crowd: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Overlap of N detections with T objects, (N, T): for a crowd the part that lies in it."""
    overlaps = box_iou(found_boxes, truth_boxes)
    if is_crowd.any():
        overlaps[:, is_crowd] = box_coverage(found_boxes, truth_boxes[is_crowd])
    return overlaps


def _match(
    overlaps: NDArray[np.float32],
    allowed: NDArray[np.bool_],
    is_crowd: NDArray[np.bool_],
    min_iou: float,
) -> Matching:
    """Match greedily by overlaps (N, T) among the pairs that are allowed (N, T)."""
    count = len(overlaps)
    truth_of = np.full(count, -1, np.intp)
    ignored = np.zeros(count, np.bool_)
    iou = np.zeros(count, np.float32)
    reached = allowed & (overlaps >= np.float32(min_iou))

    # Few pairs reach it, so these are gone through one by one.
    rows, columns = np.nonzero(reached & ~is_crowd)
    pairs = zip(rows.tolist(), overlaps[rows, columns].tolist(), columns.tolist(), strict=True)
    taken: set[int] = set()
    for row, of_row in groupby(pairs, key=itemgetter(0)):
        free = [(value, column) for _, value, column in of_row if column not in taken]
        if free:
            iou[row], truth_of[row] = max(free)
            taken.add(int(truth_of[row]))

    if is_crowd.any():
        in_crowd = np.where(reached & is_crowd, overlaps, 0).max(axis=1, initial=0)
        ignored = (truth_of < 0) & (in_crowd > 0)
        iou[ignored] = in_crowd[ignored]
    missed = ~is_crowd
    missed[truth_of[truth_of >= 0]] = False
    return Matching(truth_of, ignored, iou, missed)


def _same_label(found: Found, truth: Truth) -> NDArray[np.bool_]:
    labels = tuple(dict.fromkeys((*found.labels, *truth.labels)))
    of_found, of_truth = _numbers(found.labels, labels), _numbers(truth.labels, labels)
    return np.equal.outer(of_found, of_truth)


def _numbers(names: Sequence[str], labels: Sequence[str]) -> NDArray[np.intp]:
    """The index of each name among `labels`; their number for a name that is not among them."""
    places = {label: place for place, label in enumerate(labels)}
    return np.array([places.get(name, len(labels)) for name in names], np.intp)
