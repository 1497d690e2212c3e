"""Which label of the project a phrase means."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

from grounded_labeler.prompt import Phrase
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
        return _equal(words_of(phrase.label), _names(tuple(labels)))
    words, names = words_of(phrase.text), _names(tuple(labels))
    tails = dict.fromkeys((words, *_heads(words)))
    return next((label for tail in tails if (label := _equal(tail, names)) is not None), None)


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
            spelled = "".join(words_of(name))
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


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, whatever their case and what separates them."""
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
