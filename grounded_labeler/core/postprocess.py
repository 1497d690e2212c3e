"""Selects labelled detections from the candidates of a detector."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.boxes import box_iou, clip_boxes, has_min_side, suppress
from grounded_labeler.core.prompt import Phrase, Prompt
from grounded_labeler.core.types import Candidates, Detections, Scores
from grounded_labeler.core.words import words_of

# How much of the mean of "dog" "toy dog" must reach to win. Of the demo models' scores for
# what both phrases name, 19 in 20 reach this; see _most_specific.
_NEARLY = 0.75

# Boxes of two labels that overlap by more than this are one object that two phrases describe.
# Those that overlap by less may well be two: a woman and her dress, a bottle and its label.
_SAME_BOX = 0.9

# Each is compared with each, so memory grows with the square: 16 MB for a matrix of bytes.
_MAX_CANDIDATES = 4000

Refinements = tuple[tuple[int, int], ...]


def select(
    candidates: Candidates,
    prompt: Prompt,
    phrase_labels: Sequence[str | None],
    *,
    box_threshold: float,
    text_threshold: float,
    nms_threshold: float,
    max_regions: int,
    size_wh: tuple[int, int],
) -> Detections:
    """The boxes to keep of one image, clipped to it, best score first.

    The columns of `candidates` are the phrases of `prompt`, and `phrase_labels` the label that
    each of them means. A box goes to the phrase
    with the highest mean among those whose peak and mean reach the box and the text
    threshold, or to a phrase that refines it and fits nearly as well; its score is
    that phrase's peak. Boxes of one label that overlap by more than `nms_threshold` (IoU)
    compete, and boxes of two labels where they are nearly the same box: the one that fits
    its phrase better stays, whatever their captions. A box of a negative phrase competes
    with all that it overlaps by more than `nms_threshold`, and is left out in the end.
    The text threshold has no effect on a detector that scores whole phrases.
    Raises ValueError when columns and phrases do not match.
    """
    _check_columns(candidates, prompt)
    phrases = prompt.phrases
    if not phrases:
        return Detections.empty()
    boxes = clip_boxes(candidates.boxes, size_wh)
    eligible = candidates.peaks >= box_threshold
    if candidates.scores_tokens:
        eligible &= candidates.means >= text_threshold
    rows = np.flatnonzero(eligible.any(axis=1) & has_min_side(boxes))
    if len(rows) > _MAX_CANDIDATES:
        strength = np.where(eligible, candidates.peaks, 0).max(axis=1)[rows]
        rows = np.sort(rows[np.argsort(-strength, kind="stable")[:_MAX_CANDIDATES]])
    boxes, peaks, means = boxes[rows], candidates.peaks[rows], candidates.means[rows]
    refinements = _refinements(tuple(phrase.text for phrase in phrases))
    eligible = _most_specific(eligible[rows], means, refinements)
    won, scores = _winners(eligible, peaks, means)
    iou = box_iou(boxes, boxes)
    over = iou > nms_threshold
    fits = means[np.arange(len(won)), won]
    left = np.flatnonzero(~_outdone(over, fits, won, refinements))
    left = left[np.lexsort((left, won[left], -scores[left], -fits[left]))]
    places = np.arange(len(left), dtype=np.float32)
    rivals = over & _compete(phrases, phrase_labels, won) | (iou > max(nms_threshold, _SAME_BOX))
    kept = left[suppress(rivals[np.ix_(left, left)], -places)]
    kept = kept[[not phrases[column].negative for column in won[kept]]]
    best = kept[np.lexsort((kept, -scores[kept]))][:max_regions]
    return Detections(
        boxes[best],
        scores[best],
        tuple(phrases[column].text for column in won[best]),
        tuple(phrase_labels[column] for column in won[best]),
    )


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


@lru_cache(maxsize=16)
def _refinements(texts: tuple[str, ...]) -> Refinements:
    """(a, b) for each phrase b that says more than phrase a, as "toy dog" does than "dog"."""
    words = [frozenset(words_of(text)) for text in texts]
    having: dict[str, set[int]] = {}
    for b, own in enumerate(words):
        for word in own:
            having.setdefault(word, set()).add(b)
    return tuple(
        (a, b)
        for a, own in enumerate(words)
        if own
        for b in sorted(set.intersection(*(having[word] for word in own)))
        if len(words[b]) > len(own)
    )


def _most_specific(
    eligible: NDArray[np.bool_], means: Scores, refinements: Refinements
) -> NDArray[np.bool_]:
    """`eligible` (N, P) without the phrases that another one refines and fits nearly as well.

    A toy dog fits "dog" as well as it fits "toy dog", or better: the word "dog" scores
    the same in both, and every further word can only lower the mean.
    """
    left = eligible.copy()
    named = np.asarray(eligible.any(axis=0))
    for wide, narrow in refinements:
        if named[wide] and named[narrow]:
            near = means[:, narrow] >= _NEARLY * means[:, wide]
            left[:, wide] &= ~(eligible[:, narrow] & near)
    return left


def _outdone(
    over: NDArray[np.bool_], fits: Scores, won: NDArray[np.intp], refinements: Refinements
) -> NDArray[np.bool_]:
    """Which boxes, (N,), overlap one whose phrase refines theirs and fits nearly as well.

    `over` (N, N) is whether two boxes overlap; `won` and `fits` (N,) are the phrase that
    won a box and its mean there.
    """
    outdone = np.zeros(len(won), np.bool_)
    present = set(won.tolist())
    for wide, narrow in refinements:
        if wide in present and narrow in present:
            these, those = np.flatnonzero(won == wide), np.flatnonzero(won == narrow)
            near = fits[None, those] >= _NEARLY * fits[these, None]
            outdone[these] |= np.asarray(over[np.ix_(these, those)] & near).any(axis=1)
    return outdone


def _compete(
    phrases: Sequence[Phrase], labels: Sequence[str | None], won: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Whether two boxes, (N, N), are of one label, or one of them is of a negative phrase.

    `won` (N,) is the phrase that won a box; a phrase without a label stands for itself.
    """
    keys = [
        (label is None, label or phrase.text) for phrase, label in zip(phrases, labels, strict=True)
    ]
    numbers = {key: number for number, key in enumerate(keys)}
    group = np.array([numbers[key] for key in keys], np.intp)[won]
    negative = np.array([phrase.negative for phrase in phrases], np.bool_)[won]
    return np.asarray((group[:, None] == group) | negative[:, None] | negative)


def _winners(
    eligible: NDArray[np.bool_], peaks: Scores, means: Scores
) -> tuple[NDArray[np.intp], Scores]:
    """The column of each row's best eligible phrase, (N,), and its peak; all inputs are (N, P).

    Every row must have an eligible phrase. Equal means go to the higher peak, equal
    peaks to the phrase typed first.
    """
    means = np.where(eligible, means, -1)
    level = eligible & (means == means.max(axis=1, keepdims=True))
    won = np.where(level, peaks, -1).argmax(axis=1)
    return won, peaks[np.arange(len(won)), won]
