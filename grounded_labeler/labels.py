"""From what a detector saw to labelled detections: which label, which phrase, which boxes."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.boxes import box_iou, clip_boxes, large_enough, nms
from grounded_labeler.prompt import Phrase, Prompt
from grounded_labeler.structures import Candidates, Detections, Scores
from grounded_labeler.targets import Label

# What follows one of these words says more about the noun before it: "cat with a hat".
_AFTER_THE_NOUN = re.compile(
    "above|against|among|at|behind|below|beneath|beside|between|by|for|from|in|inside|into|near|"
    "next|of|off|on|onto|over|that|to|under|underneath|which|who|with|without|"
    "carrying|catching|chasing|covered|crossing|driving|eating|facing|filled|holding|kicking|"
    "leaning|looking|lying|made|parked|pulling|pushing|riding|sitting|standing|throwing|using|"
    "watching|wearing"
)
# Endings of English plurals and the singulars they may come from. Too many rather
# than too few: a singular that is no word is no project's label either.
_ENDINGS = (
    ("men", "man"),
    ("people", "person"),
    ("children", "child"),
    ("mice", "mouse"),
    ("geese", "goose"),
    ("feet", "foot"),
    ("teeth", "tooth"),
    ("cacti", "cactus"),
    ("ies", "y"),
    ("ives", "ife"),
    ("ves", "f"),
    *((ending + "es", ending) for ending in ("s", "x", "z", "ch", "sh", "o")),
)
# Words; a longer label is only found by equality. Keeps a pasted novel from taking for ever.
_LONGEST_LABEL = 8

# How much of the mean of "dog" "toy dog" must reach to win. Of the demo models' scores for
# what both phrases name, 19 in 20 reach this; see _most_specific.
_NEARLY = 0.75

# The labels' values by folded name, and by every singular that name may stand for.
_Spellings = tuple[dict[str, str], dict[str, str]]


def label_for(phrase: Phrase, labels: Sequence[Label]) -> str | None:
    """The value of the project's label that a phrase means, or None.

    That is the label the prompt maps the phrase to; or else the one it equals, by
    value and then by predicted value, whatever the case, the number and the spacing;
    or else the one that is its head noun, as "fire truck" is of "old fire trucks in
    a street". Plurals and head nouns are those of English.
    """
    if phrase.label is not None:
        if any(label.value == phrase.label for label in labels):
            return phrase.label
        # A label the project does not have is an annotator's mistake: no second guess.
        return _equal(_words(phrase.label), _names(tuple(labels)))
    words, names = _words(phrase.text), _names(tuple(labels))
    tails = dict.fromkeys((words, *_heads(words)))
    return next((label for tail in tails if (label := _equal(tail, names)) is not None), None)


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
    that phrase's peak. A box of a negative phrase is left out
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
    boxes = boxes[rows]
    eligible = _most_specific(eligible[rows], candidates.means[rows], phrases)
    won, scores = _winners(eligible, candidates.peaks[rows], candidates.means[rows])

    negative = np.array([phrase.negative for phrase in phrases])[won]
    over = box_iou(boxes, boxes[negative]) > nms_threshold
    ruled_out = (over & (scores[:, None] < scores[negative])).any(axis=1)
    left = np.flatnonzero(~negative & ~ruled_out)

    labels_won = [label_for(phrase, labels) for phrase in phrases]
    group = _groups(phrases, labels_won)[won[left]]
    members = [left[group == number] for number in np.unique(group)]
    kept = [some[nms(boxes[some], scores[some], nms_threshold)] for some in members]
    best = np.concatenate([left[:0], *kept])
    best = best[np.lexsort((best, -scores[best]))][:max_regions]
    return Detections(
        boxes[best],
        scores[best],
        tuple(phrases[column].text for column in won[best]),
        tuple(labels_won[column] for column in won[best]),
    )


def best_score(candidates: Candidates, prompt: Prompt) -> float:
    """The highest peak of any candidate for a phrase that is not negative; 0 for none.

    Raises ValueError when columns and phrases do not match.
    """
    _check_columns(candidates, prompt)
    wanted = [i for i, phrase in enumerate(prompt.phrases) if not phrase.negative]
    return float(candidates.peaks[:, wanted].max(initial=0))


def _check_columns(candidates: Candidates, prompt: Prompt) -> None:
    columns, phrases = candidates.peaks.shape[1], len(prompt.phrases)
    if columns != phrases:
        raise ValueError(f"candidates must have {phrases} columns, one a phrase, got {columns}")


def _most_specific(
    eligible: NDArray[np.bool_], means: Scores, phrases: Sequence[Phrase]
) -> NDArray[np.bool_]:
    """`eligible` (N, P) without the phrases that another one refines and fits nearly as well.

    A toy dog fits "dog" as well as it fits "toy dog", or better: the word "dog" scores
    the same in both, and every further word can only lower the mean.
    """
    words = [set(_words(phrase.text)) for phrase in phrases]
    left = eligible.copy()
    for wide, few in enumerate(words):
        for narrow, many in enumerate(words):
            if few and few < many:
                near = means[:, narrow] >= _NEARLY * means[:, wide]
                left[:, wide] &= ~(eligible[:, narrow] & near)
    return left


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


def _equal(words: tuple[str, ...], names: list[_Spellings]) -> str | None:
    """The label these words spell: by value, then by predicted value."""
    spelled = "".join(words)
    if not spelled:
        return None
    for exact, singular in names:
        # Before plurals: a project may have both "glass" and "glasses".
        if spelled in exact:
            return exact[spelled]
        for form in _singulars(spelled):
            if form in singular:
                return singular[form]
    return None


@lru_cache(maxsize=64)
def _names(labels: tuple[Label, ...]) -> list[_Spellings]:
    """How labels are spelled: by their values, then by their predicted values."""
    values = [(label.value, label.value) for label in labels]
    others = [(other, label.value) for label in labels for other in label.predicted_values]
    found = []
    for names in (values, others):
        exact: dict[str, str] = {}
        singular: dict[str, str] = {}
        for name, value in names:
            spelled = "".join(_words(name))
            exact.setdefault(spelled, value)
            for form in _singulars(spelled):
                singular.setdefault(form, value)
        found.append((exact, singular))
    return found


def _heads(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """What may be the head noun, longest first: "old fire truck in mud" has "fire truck"."""
    # The first word is never cut off: a "standing lamp" is a lamp.
    after = (i for i, word in enumerate(words) if i and _AFTER_THE_NOUN.fullmatch(word))
    end = next(after, len(words))
    start = max(0, end - _LONGEST_LABEL)
    # A label may itself hold such a word: "white piece of paper" to "piece of paper".
    yield from (words[i:] for i in range(max(1, start), end))
    yield from (words[i:end] for i in range(start, end))


def _words(text: str) -> tuple[str, ...]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return tuple(filter(None, re.split(r"[\s_-]+", folded)))


def _singulars(word: str) -> list[str]:
    """The word and every singular it may be the plural of.

    The inflect package is not used: it takes over a second to import, and of a word
    that is no plural it makes "bu" or "len", so that it would need the same lists.
    """
    forms = [word]
    for plural, singular in _ENDINGS:
        if word.endswith(plural):
            forms.append(word.removesuffix(plural) + singular)
    if word.endswith("s") and not word.endswith("ss"):
        forms.append(word.removesuffix("s"))
    return forms
