"""Selects labelled detections from the candidates of a detector, and tells why."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from grounded_labeler.core.comparison import compare
from grounded_labeler.core.prompt import Prompt
from grounded_labeler.core.types import Candidates, Detections, Label, Thresholds


class Fate(StrEnum):
    """What became of a candidate, and why."""

    KEPT = "kept"
    BELOW_BOX_THRESHOLD = "below the box threshold"
    BELOW_TEXT_THRESHOLD = "below the text threshold"
    NO_AREA = "no area in the image"
    TOO_MANY = "too many candidates"
    REFINED = "a more specific phrase fits nearly as well"
    PART = "a part of what the whole image shows"
    OVERLAPS = "overlaps one that fits better"
    NEGATIVE = "of a negative phrase"
    OVER_THE_LIMIT = "over the limit of regions"


@dataclass(frozen=True)
class Verdict:
    """What became of a candidate: `phrase` is the number of the phrase that fits it best.

    `rival` is the number of the candidate that it gave way to, if that is its fate.
    """

    phrase: int
    fate: Fate
    rival: int | None = None


def own_thresholds(
    prompt: Prompt, phrase_labels: Sequence[str | None], labels: Sequence[Label]
) -> tuple[float | None, ...]:
    """Return the box threshold that each phrase has of its own, in [0, 1]; None where it has none.

    That is the one typed for it in the prompt, or else that of its label. A negative phrase has
    none of its label, which is for what people want to see.
    """
    own = {label.value: label.score_threshold for label in labels}
    return tuple(
        phrase.threshold
        if phrase.threshold is not None or phrase.negative or label is None
        else own.get(label)
        for phrase, label in zip(prompt.phrases, phrase_labels, strict=True)
    )


def thresholds_of_phrases(
    prompt: Prompt,
    phrase_labels: Sequence[str | None],
    labels: Sequence[Label],
    limits: Thresholds,
) -> tuple[float, ...]:
    """Return the minimum score of each phrase: its own, see `own_thresholds`, or else `limits.box`.

    Where `limits` override labels, only what is typed in the prompt goes before `limits.box`.
    """
    own = own_thresholds(prompt, phrase_labels, () if limits.overrides_labels else labels)
    return tuple(limits.box if one is None else one for one in own)


def select(
    candidates: Candidates,
    prompt: Prompt,
    phrase_labels: Sequence[str | None],
    *,
    box_thresholds: Sequence[float],
    text_threshold: float,
    nms_threshold: float,
    max_regions: int,
    size_wh: tuple[int, int],
) -> Detections:
    """The boxes to keep of one image, clipped to it, best score first.

    The columns of `candidates` are the phrases of `prompt`, `phrase_labels` the label that
    each of them means, and `box_thresholds` its minimum score. A box goes to the phrase
    with the highest mean among those whose peak and mean reach the box and the text
    threshold, or to a phrase that refines it and fits nearly as well; its score is
    that phrase's peak. Boxes of one label that overlap by more than `nms_threshold` (IoU)
    compete, and boxes of two labels where they are nearly the same box: the one that fits
    its phrase better stays, whatever their captions. A box of a negative phrase competes
    with all that it overlaps by more than `nms_threshold`, and is left out in the end.
    The text threshold has no effect on a detector that scores whole phrases.
    Boxes of several views of the image compete across them as well where one is a part of the
    other, and where they overlap by more than `nms_threshold` whatever their labels; what is
    whole stays before what an edge of its view cuts. What a tile shows inside a larger object of
    the whole image counts only where the whole image is too coarse for it.
    Raises ValueError when columns and phrases do not match.
    """
    _check_columns(candidates, prompt)
    phrases = prompt.phrases
    if not phrases:
        return Detections.empty()
    one = compare(
        candidates,
        prompt,
        phrase_labels,
        box_thresholds=box_thresholds,
        text_threshold=text_threshold,
        nms_threshold=nms_threshold,
        size_wh=size_wh,
    )
    best = one.shown(max_regions)
    return Detections(
        one.boxes[best],
        one.scores[best],
        tuple(phrases[column].text for column in one.won[best]),
        tuple(phrase_labels[column] for column in one.won[best]),
    )


def explain(
    candidates: Candidates,
    prompt: Prompt,
    phrase_labels: Sequence[str | None],
    *,
    box_thresholds: Sequence[float],
    text_threshold: float,
    nms_threshold: float,
    max_regions: int,
    size_wh: tuple[int, int],
) -> list[Verdict]:
    """Tell what became of each candidate, in their order, when `select` is given the same."""
    _check_columns(candidates, prompt)
    phrases = prompt.phrases
    if not phrases:
        return []
    one = compare(
        candidates,
        prompt,
        phrase_labels,
        box_thresholds=box_thresholds,
        text_threshold=text_threshold,
        nms_threshold=nms_threshold,
        size_wh=size_wh,
    )
    fits_best = candidates.means.argmax(axis=1)
    verdicts = [
        Verdict(column, _fate_below(candidates, row, column, box_thresholds))
        for row, column in enumerate(fits_best.tolist())
    ]
    for row in np.flatnonzero(~one.has_area):
        verdicts[row] = Verdict(int(fits_best[row]), Fate.NO_AREA)
    for row in one.passed_over:
        verdicts[row] = Verdict(int(fits_best[row]), Fate.TOO_MANY)
    in_order = one.kept()
    kept, shown = set(in_order.tolist()), set(one.shown(max_regions).tolist())
    rivals = one.rivals.of(in_order)
    for i, row in enumerate(one.rows.tolist()):
        column = int(one.won[i])
        if one.outdone[i] >= 0:
            verdict = Verdict(column, Fate.REFINED, int(one.rows[one.outdone[i]]))
        elif one.part_of[i] >= 0:
            verdict = Verdict(column, Fate.PART, int(one.rows[one.part_of[i]]))
        elif i in shown:
            verdict = Verdict(column, Fate.KEPT)
        elif i not in kept:
            better = in_order[rivals[:, i].argmax()]  # the first one dropped it
            verdict = Verdict(column, Fate.OVERLAPS, int(one.rows[better]))
        else:
            is_negative = phrases[column].negative
            verdict = Verdict(column, Fate.NEGATIVE if is_negative else Fate.OVER_THE_LIMIT)
        verdicts[row] = verdict
    return verdicts


def _fate_below(
    candidates: Candidates, row: int, column: int, box_thresholds: Sequence[float]
) -> Fate:
    """Why a candidate reaches no phrase's thresholds, told by the phrase that fits it best."""
    if candidates.peaks[row, column] < box_thresholds[column]:
        return Fate.BELOW_BOX_THRESHOLD
    return Fate.BELOW_TEXT_THRESHOLD


def best_scores(candidates: Candidates, prompt: Prompt) -> tuple[float, ...]:
    """Return for each phrase the highest peak of any candidate, selected or not; 0 for none.

    Raises ValueError when columns and phrases do not match.
    """
    _check_columns(candidates, prompt)
    return tuple(candidates.peaks.max(axis=0, initial=0).tolist())


def _check_columns(candidates: Candidates, prompt: Prompt) -> None:
    columns, phrases = candidates.peaks.shape[1], len(prompt.phrases)
    if columns != phrases:
        raise ValueError(f"candidates must have {phrases} columns, one a phrase, got {columns}")
