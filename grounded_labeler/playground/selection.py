"""What thresholds keep of the candidates of one image, and why not the others: no model runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grounded_labeler.core.postprocess import Fate, explain, select
from grounded_labeler.core.types import Detections
from grounded_labeler.server.inspector import Inspection

_BELOW = {Fate.BELOW_BOX_THRESHOLD, Fate.BELOW_TEXT_THRESHOLD}


@dataclass(frozen=True)
class Limits:
    """The box and the text threshold that somebody chose, in [0, 1].

    A label's own box threshold goes before `box`.
    """

    box: float
    text: float


@dataclass(frozen=True)
class Row:
    """A candidate as the table shows it.

    Attributes:
        number: its place among all candidates, the best score first, from 1.
        phrase: the phrase that fits it best.
        label: the label of that phrase, None where it has none.
        peak: what the box threshold is compared with.
        mean: what the text threshold is compared with.
        is_kept: whether it becomes a region.
        reason: why not; "kept" where it is.
        box: xyxy in pixels of the image.
    """

    number: int
    phrase: str
    label: str | None
    peak: float
    mean: float
    is_kept: bool
    reason: str
    box: tuple[float, float, float, float]


def box_thresholds(seen: Inspection, limits: Limits) -> tuple[float, ...]:
    """Return the minimum score of each phrase."""
    return tuple(limits.box if own is None else own for own in seen.score_thresholds)


def detections_of(seen: Inspection, limits: Limits) -> Detections:
    """Return the boxes that become regions at these thresholds, best score first."""
    return select(
        seen.candidates,
        seen.prompt,
        seen.phrase_labels,
        box_thresholds=box_thresholds(seen, limits),
        text_threshold=limits.text,
        nms_threshold=seen.thresholds.nms,
        max_regions=seen.thresholds.max_regions,
        size_wh=seen.size_wh,
    )


def rows_of(seen: Inspection, limits: Limits) -> list[Row]:
    """Return every candidate with what became of it, the best score first."""
    thresholds = box_thresholds(seen, limits)
    verdicts = explain(
        seen.candidates,
        seen.prompt,
        seen.phrase_labels,
        box_thresholds=thresholds,
        text_threshold=limits.text,
        nms_threshold=seen.thresholds.nms,
        max_regions=seen.thresholds.max_regions,
        size_wh=seen.size_wh,
    )
    peaks = [float(seen.candidates.peaks[row, one.phrase]) for row, one in enumerate(verdicts)]
    order = sorted(range(len(verdicts)), key=lambda row: (-peaks[row], row))
    numbers = {row: number for number, row in enumerate(order, 1)}
    rows = []
    for row in order:
        verdict = verdicts[row]
        x0, y0, x1, y1 = seen.candidates.boxes[row].tolist()
        rows.append(
            Row(
                numbers[row],
                seen.prompt.phrases[verdict.phrase].text,
                seen.phrase_labels[verdict.phrase],
                peaks[row],
                float(seen.candidates.means[row, verdict.phrase]),
                verdict.fate is Fate.KEPT,
                _reason(verdict.fate, verdict.rival, numbers, thresholds[verdict.phrase], limits),
                (x0, y0, x1, y1),
            )
        )
    return rows


def names_of(detections: Detections) -> Sequence[str]:
    """Return what each box is called: its label, or its phrase in brackets."""
    pairs = zip(detections.labels, detections.phrases, strict=True)
    return [label or f"({phrase})" for label, phrase in pairs]


def _reason(
    fate: Fate, rival: int | None, numbers: Mapping[int, int], box: float, limits: Limits
) -> str:
    if fate in _BELOW:
        limit = box if fate is Fate.BELOW_BOX_THRESHOLD else limits.text
        return f"{fate.value}, {limit:.4g}"
    return fate.value if rival is None else f"{fate.value}: number {numbers[rival]}"
