"""Compares the candidates of one image: which phrase wins each, and which cannot both stay."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.boxes import (
    box_areas,
    box_coverage,
    box_iou,
    clip_boxes,
    has_min_side,
)
from grounded_labeler.core.prompt import Phrase, Prompt
from grounded_labeler.core.types import Boxes, Candidates, Scores, Views
from grounded_labeler.core.words import words_of

# How much of the mean of "dog" "toy dog" must reach to win. Of the demo models' scores for
# what both phrases name, 19 in 20 reach this; see _most_specific.
_NEARLY = 0.75

# Boxes of two labels that overlap by more than this are one object that two phrases describe.
# Those that overlap by less may well be two: a woman and her dress, a bottle and its label.
_SAME_BOX = 0.9

# A box of which another view's box of the same label covers more than this is a part of it.
_PART = 0.8
# Two cut boxes of one label that share so much of the smaller one are pieces of one object.
_SAME_PIECES = 0.5
# What a view cuts is that part of a whole box which lies in the view where the two overlap (IoU)
# by more than this, whatever the labels: half a circle looks like another shape. A person whom an
# edge cuts inside a car is not.
_CUT_PART = 0.5

# What takes this share of the image's longer side is large enough for the whole image to show it:
# 66 pixels of the 1,333 that Grounding DINO sees.
_SHOWN_SHARE = 0.05

# Those of several views are compared each with each, so memory grows with the square: 16 MB for a
# matrix of bytes.
_MAX_CANDIDATES = 4000

# So many candidates are compared with all others at once: what they are compared by stays in a
# CPU's cache, and of the best few hardly more is compared than they.
_BLOCK = 64

Refinements = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """The M candidates of an image that reach the thresholds, compared with each other.

    `rows` are their numbers among all candidates; `boxes` (M, 4) are clipped, `won` and `scores`
    (M,) are the phrase of each and its peak. `outdone` (M,) is who refines it, or -1; `part_of`
    (M,) is the object of the whole image that a tile shows a part of, or -1. `rivals` says which
    of two cannot both stay; in `order` the first one stays.
    What an edge of its view cuts comes after all that is whole, the largest piece first.
    """

    has_area: NDArray[np.bool_]
    passed_over: NDArray[np.intp]
    rows: NDArray[np.intp]
    boxes: Boxes
    won: NDArray[np.intp]
    scores: Scores
    outdone: NDArray[np.intp]
    part_of: NDArray[np.intp]
    rivals: "Rivals"
    order: NDArray[np.intp]

    def shown(self, most: int) -> NDArray[np.intp]:
        """Return the numbers of those that people see, best score first, `most` at most."""
        shown = self._stay(most)
        shown = shown[~self.rivals.negative[shown]]
        return shown[np.lexsort((shown, -self.scores[shown]))][:most]

    def kept(self) -> NDArray[np.intp]:
        """Return the numbers of all that stay, those of negative phrases, too, in `order`."""
        return self._stay(len(self.order) + 1)

    def _stay(self, most: int) -> NDArray[np.intp]:
        """The first that stay, until no later one is among the `most` best that people see."""
        left, kept = self.order, np.zeros(0, np.intp)
        dropped = np.zeros(len(self.rows), np.bool_)
        while len(left) and not self._are_enough(kept, left, most):
            some, left = left[:_BLOCK], left[_BLOCK:]
            stay = []
            for place, (i, rivals) in enumerate(zip(some, self.rivals.of(some), strict=True)):
                if not dropped[i]:
                    stay.append(place)
                    dropped |= rivals
            kept = np.concatenate([kept, some[stay]])
            left = left[~dropped[left]]
        return kept

    def _are_enough(self, kept: NDArray[np.intp], left: NDArray[np.intp], most: int) -> bool:
        shown = self.scores[kept[~self.rivals.negative[kept]]]
        if len(shown) < most:
            return False
        return bool(np.partition(shown, -most)[-most] > self.scores[left].max())


@dataclass(frozen=True, eq=False)
class Rivals:
    """Which of M boxes cannot both stay: worked out for those that it is asked about.

    `boxes` (M, 4) compete where they overlap by more than `nms_threshold` (IoU) and are of one
    `group` (M,), or one of them is `negative` (M,). `across`, bool (M, M), is what competes beside
    that: boxes of several views.
    """

    boxes: Boxes
    group: NDArray[np.intp]
    negative: NDArray[np.bool_]
    nms_threshold: float
    across: NDArray[np.bool_] | None = None

    def of(self, some: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return the rivals of each of `some`, intp (n,), among all: (n, M)."""
        iou = box_iou(self.boxes[some], self.boxes)
        rivals = iou > self.nms_threshold
        rivals &= self.same(some)
        rivals |= iou > max(self.nms_threshold, _SAME_BOX)
        if self.across is not None:
            rivals |= self.across[some]
        return rivals

    def same(self, some: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which boxes are of the label of each of `some`, or either is negative: (n, M)."""
        same = self.group[some, None] == self.group
        same |= self.negative[some, None]
        same |= self.negative
        return np.asarray(same)


def compare(
    candidates: Candidates,
    prompt: Prompt,
    phrase_labels: Sequence[str | None],
    *,
    box_thresholds: Sequence[float],
    text_threshold: float,
    nms_threshold: float,
    size_wh: tuple[int, int],
) -> Comparison:
    """Compare candidates as `postprocess.select` describes it; `prompt` has a phrase at least."""
    phrases = prompt.phrases
    boxes = clip_boxes(candidates.boxes, size_wh)
    eligible = candidates.peaks >= np.array(box_thresholds, np.float64)
    if candidates.scores_tokens:
        eligible &= candidates.means >= text_threshold
    has_area = has_min_side(boxes)
    rows = np.flatnonzero(eligible.any(axis=1) & has_area)
    passed_over = np.zeros(0, np.intp)
    if len(rows) > _MAX_CANDIDATES:
        strength = np.where(eligible, candidates.peaks, 0).max(axis=1)[rows]
        by_strength = rows[np.argsort(-strength, kind="stable")]
        rows, passed_over = np.sort(by_strength[:_MAX_CANDIDATES]), by_strength[_MAX_CANDIDATES:]
    boxes, peaks, means = boxes[rows], candidates.peaks[rows], candidates.means[rows]
    refinements = _refinements(tuple(phrase.text for phrase in phrases))
    eligible = _most_specific(eligible[rows], means, refinements)
    won, scores = _winners(eligible, peaks, means)
    fits = means[np.arange(len(won)), won]
    outdone = _outdone(boxes, fits, won, refinements, nms_threshold)
    part_of = np.full(len(rows), -1, np.intp)
    rivals = _rivals(boxes, phrases, phrase_labels, won, nms_threshold)
    is_cut, cut_area = np.zeros(len(rows), np.bool_), np.zeros(len(rows), np.float32)
    if candidates.views is not None:
        views = candidates.views.subset(rows)
        is_cut = views.is_cut
        cut_area = np.where(is_cut, box_areas(boxes), 0)
        coverage = box_coverage(boxes, boxes)
        over = box_iou(boxes, boxes) > nms_threshold
        same = rivals.same(np.arange(len(rows)))
        rivals = replace(rivals, across=_rivals_across(boxes, views, coverage, over, same))
        part_of = _parts(boxes, views, coverage, over, size_wh)
    left = np.flatnonzero((outdone < 0) & (part_of < 0))
    order = left[
        np.lexsort((left, won[left], -scores[left], -fits[left], -cut_area[left], is_cut[left]))
    ]
    return Comparison(
        has_area, passed_over, rows, boxes, won, scores, outdone, part_of, rivals, order
    )


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
    boxes: Boxes,
    fits: Scores,
    won: NDArray[np.intp],
    refinements: Refinements,
    nms_threshold: float,
) -> NDArray[np.intp]:
    """The box, (N,), that each one overlaps whose phrase refines its own and fits nearly as well.

    -1 where there is none. Two of `boxes` (N, 4) overlap by more than `nms_threshold` (IoU);
    `won` and `fits` (N,) are the phrase that won a box and its mean there.
    """
    outdone = np.full(len(won), -1, np.intp)
    present = set(won.tolist())
    for wide, narrow in refinements:
        if wide in present and narrow in present:
            these, those = np.flatnonzero(won == wide), np.flatnonzero(won == narrow)
            near = fits[None, those] >= _NEARLY * fits[these, None]
            near &= box_iou(boxes[these], boxes[those]) > nms_threshold
            found = np.asarray(near.any(axis=1))
            outdone[these[found]] = those[near.argmax(axis=1)[found]]
    return outdone


def _rivals(
    boxes: Boxes,
    phrases: Sequence[Phrase],
    labels: Sequence[str | None],
    won: NDArray[np.intp],
    nms_threshold: float,
) -> Rivals:
    """The rivals in one view; `won` (N,) is the phrase that won a box.

    A phrase without a label stands for itself.
    """
    keys = [
        (label is None, label or phrase.text) for phrase, label in zip(phrases, labels, strict=True)
    ]
    numbers = {key: number for number, key in enumerate(keys)}
    group = np.array([numbers[key] for key in keys], np.intp)[won]
    negative = np.array([phrase.negative for phrase in phrases], np.bool_)[won]
    return Rivals(boxes, group, negative, nms_threshold)


def _rivals_across(
    boxes: Boxes,
    views: Views,
    coverage: NDArray[np.float32],
    over: NDArray[np.bool_],
    same: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Which boxes of different views, (N, N), are of one object: the same, or a part of it.

    `coverage` (N, N) is how much of each box lies in each; `over` and `same` (N, N) tell which
    boxes overlap and which are of one label. In every view
    a box comes out a little different, so that two labels of one object overlap less than in one.
    """
    are_pieces = views.is_cut[:, None] & views.is_cut
    is_part = np.maximum(coverage, coverage.T) > np.where(are_pieces, _SAME_PIECES, _PART)
    frames, numbers = np.unique(views.frames, axis=0, return_inverse=True)
    cut_part = np.zeros_like(same)
    for number, frame in enumerate(frames):
        cut = np.flatnonzero(views.is_cut & (numbers == number))
        inside = np.clip(boxes, np.tile(frame[:2], 2), np.tile(frame[2:], 2))
        cut_part[cut] = (box_iou(boxes[cut], inside) > _CUT_PART) & ~views.is_cut
    across = numbers[:, None] != numbers
    return np.asarray(across & (over | is_part & same | cut_part | cut_part.T))


def _parts(
    boxes: Boxes,
    views: Views,
    coverage: NDArray[np.float32],
    over: NDArray[np.bool_],
    size_wh: tuple[int, int],
) -> NDArray[np.intp]:
    """The object of the whole image, (N,), that each box of a tile is a part of; -1 for none.

    What is inside such an object, and large enough for the whole image to show it, is for the
    whole image to find: a tile that shows half of an object finds things in its texture.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    is_tile = (views.frames[:, 2:] - views.frames[:, :2] < size_wh).any(axis=1)
    is_large = sides.max(axis=1) >= _SHOWN_SHARE * max(size_wh)
    these, those = np.flatnonzero(is_tile & is_large), np.flatnonzero(~is_tile)
    part_of = np.full(len(boxes), -1, np.intp)
    if len(these) and len(those):
        inside = ((coverage > _PART) & ~over)[np.ix_(these, those)]
        inside &= box_areas(boxes[those]) > box_areas(boxes[these])[:, None]
        found = np.asarray(inside.any(axis=1))
        part_of[these[found]] = those[inside.argmax(axis=1)[found]]
    return part_of


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
