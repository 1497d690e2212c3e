"""Whether what a model finds agrees with what was published of it.

Two computers, two resizers or two runtimes never give the same numbers, and the order of a
detector's boxes changes with the smallest of differences. So detections are compared, not rows:
by the overlap of their boxes and by their scores.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from grounded_labeler.core.boxes import box_iou
from grounded_labeler.core.types import Boxes, Scores

MIN_IOU = 0.97
MAX_SCORE_DIFFERENCE = 0.02


@dataclass(frozen=True)
class Agreement:
    """How well results agree with the expected ones.

    `expected` is the number of expected results, `missing` how many of them nothing agrees
    with, and `extra` how many results were not expected. `worst_iou`, in [0, 1], and
    `worst_score_difference` are those of the expected result that agrees least; None where
    nothing was compared.
    """

    expected: int
    missing: int
    extra: int
    worst_iou: float | None = None
    worst_score_difference: float | None = None

    @property
    def holds(self) -> bool:
        return not self.missing and not self.extra

    @classmethod
    def of_all(cls, parts: Iterable["Agreement"]) -> "Agreement":
        """Sum the counts of several comparisons, and keep the worst of the rest."""
        parts = list(parts)
        ious = [part.worst_iou for part in parts if part.worst_iou is not None]
        differences = [
            part.worst_score_difference for part in parts if part.worst_score_difference is not None
        ]
        return cls(
            sum(part.expected for part in parts),
            sum(part.missing for part in parts),
            sum(part.extra for part in parts),
            min(ious, default=None),
            max(differences, default=None),
        )


def compare_detections(
    found: tuple[Boxes, Scores],
    expected: tuple[Boxes, Scores],
    threshold: float,
    *,
    min_iou: float = MIN_IOU,
    max_difference: float = MAX_SCORE_DIFFERENCE,
) -> Agreement:
    """Compare all candidates of a detector with the detections it should give at a threshold.

    Args:
        found: the boxes, float32 (N, 4) xyxy pixels, and scores (N,) of all candidates, also of
            those below the threshold.
        expected: the boxes (M, 4) and scores (M,); a row of NaN is a box of which only the score
            is known.
        threshold: the box threshold, in [0, 1], above which the expected ones were published.
        min_iou: what the boxes of an expected detection and of its candidate must overlap.
        max_difference: what their scores may differ by. A candidate that is no expected one's
            must not exceed the threshold by more.

    Every candidate stands for one expected detection at most.
    """
    (boxes, scores), (wanted, wanted_scores) = found, expected
    differences = np.abs(np.subtract.outer(wanted_scores, scores))  # (M, N)
    is_known = np.asarray(np.isfinite(wanted).all(axis=1))
    overlaps = box_iou(np.nan_to_num(wanted), boxes)  # (M, N)
    is_free = np.ones(len(boxes), np.bool_)
    missing, ious, off = 0, [], []
    for row in sorted(range(len(wanted)), key=lambda row: not is_known[row]):
        if not is_free.any():
            missing += 1
            continue
        fits = is_free & (overlaps[row] >= min_iou) if is_known[row] else is_free.copy()
        if fits.any():
            best = int(np.where(fits, differences[row], np.inf).argmin())
        else:
            best = int(np.where(is_free, overlaps[row], -1).argmax())
        if is_known[row]:
            ious.append(float(overlaps[row, best]))
        off.append(float(differences[row, best]))
        if fits[best] and differences[row, best] <= max_difference:
            is_free[best] = False
        else:
            missing += 1
    extra = int((is_free & (scores > threshold + max_difference)).sum())
    return Agreement(
        len(wanted), missing, extra, min(ious, default=None), max(off, default=None)
    )  # fmt: skip


def compare_masks(
    found: tuple[Boxes, Scores],
    expected: tuple[Boxes | None, Scores],
    *,
    max_difference: float,
    min_iou: float = MIN_IOU,
) -> Agreement:
    """Compare the masks of N boxes with the expected ones, in order.

    Args:
        found: the tight boxes around the masks, float32 (N, 4) xyxy pixels, zeros for an empty
            mask, and the model's guesses at their IoU (N,).
        expected: the same, as they should be; None where only the guesses are known.
        max_difference: what the guesses may differ by.
        min_iou: what the tight boxes must overlap.
    """
    (boxes, scores), (wanted, wanted_scores) = found, expected
    differences = np.abs(scores - wanted_scores)
    is_right = differences <= max_difference
    worst_iou = None
    if wanted is not None and len(wanted):
        overlaps = box_iou(wanted, boxes).diagonal()
        is_right &= overlaps >= min_iou
        worst_iou = float(overlaps.min())
    return Agreement(
        len(wanted_scores),
        int((~is_right).sum()),
        0,
        worst_iou,
        float(differences.max()) if len(differences) else None,
    )
