"""From all that a detector saw to the labelled detections to keep."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.boxes import box_iou, clip_boxes, large_enough, nms
from grounded_labeler.labels import label_for, words_of
from grounded_labeler.prompt import Phrase, Prompt
from grounded_labeler.structures import Candidates, Detections, Scores
from grounded_labeler.targets import Label

# How much of the mean of "dog" "toy dog" must reach to win. Of the demo models' scores for
# what both phrases name, 19 in 20 reach this; see _most_specific.
_NEARLY = 0.75

# Each is compared with each, so memory grows with the square: 16 MB for a matrix of bytes.
_MAX_CANDIDATES = 4000


def select(
    candidates: Candidates,
    prompt: Prompt,
    labels: Sequence[Label],
    *,
    box_threshold: float,
    text_threshold: float,
    nms_threshold: float,
    max_regions: int,
    size_wh: tuple[int, int],
) -> Detections:
    """The boxes to keep of one image, clipped to it, best score first.

    The columns of `candidates` are the phrases of `prompt`. A box goes to the phrase
    with the highest mean among those whose peak and mean reach the box and the text
    threshold, or to a phrase that refines it and fits nearly as well; its score is
    that phrase's peak. Where phrases were asked in several captions, a box also gives way
    to one of another caption that overlaps it by more than `nms_threshold` (IoU) and fits
    its phrase better. A box of a negative phrase is left out
    and takes with it every box of a lower score that overlaps it by more than
    `nms_threshold` (IoU); of two boxes of one label that overlap so, the better stays.
    Raises ValueError when columns and phrases do not match.
    """
    _check_columns(candidates, prompt)
    phrases = prompt.phrases
    if not phrases:
        return Detections.empty()
    boxes = clip_boxes(candidates.boxes, size_wh)
    eligible = (candidates.peaks >= box_threshold) & (candidates.means >= text_threshold)
    rows = np.flatnonzero(eligible.any(axis=1) & large_enough(boxes))
    if len(rows) > _MAX_CANDIDATES:
        strength = np.where(eligible, candidates.peaks, 0).max(axis=1)[rows]
        rows = np.sort(rows[np.argsort(-strength, kind="stable")[:_MAX_CANDIDATES]])
    boxes, peaks, means = boxes[rows], candidates.peaks[rows], candidates.means[rows]
    refined_by = _refinements(phrases)
    eligible = _most_specific(eligible[rows], means, refined_by)
    won, scores = _winners(eligible, peaks, means)
    over = box_iou(boxes, boxes) > nms_threshold
    fits = means[np.arange(len(won)), won]
    beaten = _beaten(over, candidates.captions[rows], fits, won, refined_by)

    negative = np.array([phrase.negative for phrase in phrases])[won] & ~beaten
    worse = scores[:, None] < scores[None, :]
    ruled_out = (over & worse)[:, negative].any(axis=1)
    left = np.flatnonzero(~negative & ~beaten & ~ruled_out)

    labels_won = [label_for(phrase, labels) for phrase in phrases]
    group = _groups(phrases, labels_won)[won[left]]
    members = [left[group == number] for number in np.unique(group)]
    kept = [some[nms(over[np.ix_(some, some)], scores[some])] for some in members]
    best = np.concatenate([left[:0], *kept])
    best = best[np.lexsort((best, -scores[best]))][:max_regions]
    return Detections(
        boxes[best],
        scores[best],
        tuple(phrases[column].text for column in won[best]),
        tuple(labels_won[column] for column in won[best]),
    )


def best_scores(candidates: Candidates, prompt: Prompt) -> tuple[float, ...]:
    """For each phrase the highest peak of any candidate, kept or not; 0 for none.

    Raises ValueError when columns and phrases do not match.
    """
    _check_columns(candidates, prompt)
    return tuple(candidates.peaks.max(axis=0, initial=0).tolist())


def _check_columns(candidates: Candidates, prompt: Prompt) -> None:
    columns, phrases = candidates.peaks.shape[1], len(prompt.phrases)
    if columns != phrases:
        raise ValueError(f"candidates must have {phrases} columns, one a phrase, got {columns}")


def _refinements(phrases: Sequence[Phrase]) -> NDArray[np.bool_]:
    """Whether phrase b says more than phrase a, as "toy dog" does than "dog": (P, P), [a, b]."""
    words = [set(words_of(phrase.text)) for phrase in phrases]
    return np.array([[bool(a) and a < b for b in words] for a in words], np.bool_)


def _most_specific(
    eligible: NDArray[np.bool_], means: Scores, refined_by: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """`eligible` (N, P) without the phrases that another one refines and fits nearly as well.

    A toy dog fits "dog" as well as it fits "toy dog", or better: the word "dog" scores
    the same in both, and every further word can only lower the mean.
    """
    left = eligible.copy()
    for wide, narrow in np.argwhere(refined_by):
        near = means[:, narrow] >= _NEARLY * means[:, wide]
        left[:, wide] &= ~(eligible[:, narrow] & near)
    return left


def _beaten(
    over: NDArray[np.bool_],
    captions: NDArray[np.intp],
    means: Scores,
    won: NDArray[np.intp],
    refined_by: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Which boxes, (N,), one of another caption outdoes: phrases of two captions compete so.

    `over` (N, N) is whether two boxes overlap; `captions`, `means` and `won` (N,) are a
    box's caption, the phrase that won it and that phrase's mean.
    """
    if (captions == captions[:1]).all():  # as in most requests
        return np.zeros(len(captions), np.bool_)
    elsewhere = over & (captions[:, None] != captions[None, :])
    mine, theirs = means[:, None], means[None, :]
    better = theirs > mine
    narrower = refined_by[np.ix_(won, won)]
    better = np.where(narrower, theirs >= _NEARLY * mine, better)
    better = np.where(narrower.T, mine < _NEARLY * theirs, better)
    return np.asarray((elsewhere & better).any(axis=1))


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


def _groups(phrases: Sequence[Phrase], labels: Sequence[str | None]) -> NDArray[np.intp]:
    """A number for each phrase, (P,), the same for the phrases of one label."""
    keys = [
        (label is None, label or phrase.text) for phrase, label in zip(phrases, labels, strict=True)
    ]
    numbers = {key: number for number, key in enumerate(keys)}
    return np.array([numbers[key] for key in keys], np.intp)
