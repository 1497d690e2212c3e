"""The names of a project's labels, and which label a text means."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from grounded_labeler.core import lexicon as lex
from grounded_labeler.core.grammar import (
    NounPhrase,
    is_modifier,
    noun_phrase,
    without_remarks,
)
from grounded_labeler.core.plurals import in_the_singular, is_plural
from grounded_labeler.core.types import Label
from grounded_labeler.core.words import collapsed, folded, joined, words_of

# Words; a longer label is only found by equality. Keeps a pasted novel from taking for ever.
LONGEST_NAME = 8
_LONGEST_KEPT = 200  # characters, of the texts whose label is cached


class LabelRule(StrEnum):
    """Why a phrase has its label, in words that follow "the phrase" or "the label"."""

    MAPPED = "the prompt names it for the phrase"
    VALUE = "the phrase equals its value"
    PREDICTED_VALUE = "the phrase is one of its predicted_values"
    OWN_PROMPT = "the phrase is in its own prompt"
    HEAD_NOUN = "it is the head noun of the phrase"
    NONE = "none fits the phrase"


@dataclass(frozen=True)
class LabelMatch:
    """The value of the label that a phrase means, None if it means none, and why."""

    label: str | None
    rule: LabelRule


Keys = tuple[Hashable, ...]
Values = tuple[str, ...]  # of labels: none, the one, or all between which a name is ambiguous
Table = dict[Hashable, Values]


class LabelNames:
    """How the labels of a project are called: by value, predicted value and own prompt.

    Of two names a text may stand for, the one it is closer to wins: by spelling, by case,
    by words ("fire-truck" and "fire truck"), without spaces ("firetruck"), by number; and
    of two names as close, the value before the predicted value, and that before the prompt.
    """

    def __init__(self, labels: Iterable[Label], phrases_of: Iterable[tuple[str, str]] = ()) -> None:
        """`phrases_of` are the phrases of labels' own prompts, each with its label's value."""
        labels = list(labels)
        kinds = (
            [(label.value, label.value) for label in labels],
            [(name, label.value) for label in labels for name in label.predicted_values],
            list(phrases_of),
        )
        self.values = frozenset(label.value for label in labels)
        self.names = tuple(dict.fromkeys(name for kind in kinds for name, _ in kind))
        # By closeness and kind, from a key of the name to the values it may mean.
        self._tables: list[list[Table]] = [[_table(kind, key) for kind in kinds] for key in _KEYS]
        self._known = {key for table in self._tables[-1] for key in table}
        self._kept = lru_cache(maxsize=4096)(self._search)

    def spelled_values(self, text: str) -> Values:
        """The labels whose values `text` spells, case aside."""
        for keys_of, tables in zip(_KEYS[:3], self._tables, strict=False):
            for key in keys_of(text):
                if key in tables[0]:
                    return tables[0][key]
        return ()

    def equal(self, text: str) -> Values:
        """The labels that `text` is a name of, whatever its case, its number and its spacing."""
        # Names that are close in any way are so by number; all but those of signs alone.
        if not self._known.isdisjoint(_as_singular(text)) or not words_of(text):
            return self._first(text)
        return ()

    def meant(self, text: str) -> str | None:
        """The one label that `text` means: that it equals, or that is its head noun.

        None where there is none, and where nothing tells which of two it is.
        """
        return self.match(text).label

    def match(self, text: str) -> LabelMatch:
        """Return the one label that `text` means, and why.

        Results are cached, so that the thread that runs the models finds those of the thread that
        read the prompt.
        """
        return self._kept(text) if len(text) <= _LONGEST_KEPT else self._search(text)

    def _search(self, text: str) -> LabelMatch:
        for whole in dict.fromkeys((text, without_remarks(text))):
            if values := self.equal(whole):
                return _match(values, self._rule_of(whole))
        phrase = noun_phrase(without_remarks(text), self.is_name)
        return _match(self._of(phrase), LabelRule.HEAD_NOUN)

    def _rule_of(self, name: str) -> LabelRule:
        """What `name`, which equals the names of labels, is to them."""
        rules = (LabelRule.VALUE, LabelRule.PREDICTED_VALUE, LabelRule.OWN_PROMPT)
        return rules[self._closest(name)[1]]

    def _of(self, phrase: NounPhrase) -> Values:
        words = phrase.words
        if phrase.negated:
            return self._longest_from(words, phrase.start, phrase.start + 1)
        if phrase.frame is not None:
            # "White piece of paper" where there is a label for pieces of paper.
            for first in range(phrase.frame + 1):
                if values := self._longest_from(words, first, phrase.start + 1):
                    return values
        values = self._longest_tail(words, phrase.start, phrase.end)
        if not values and phrase.frame is not None:
            # The same where there is none for paper, but one for pieces.
            values = self._longest_tail(words[: phrase.frame + 1], 0, phrase.frame + 1)
        return values

    def _longest_from(self, words: Sequence[str], first: int, end: int) -> Values:
        """The longest name that begins at word `first` and ends at `end` or later."""
        for stop in range(min(len(words), first + LONGEST_NAME), max(first, end - 1), -1):
            if values := self.equal(" ".join(words[first:stop])):
                return values
        return ()

    def _longest_tail(self, words: Sequence[str], start: int, end: int) -> Values:
        """The longest name whose head is the last of the words from `start` to `end`.

        A name may hold what follows its head: "person without helmet".
        """
        for first in range(max(start, end - LONGEST_NAME), end):
            if values := self._longest_from(words, first, end):
                return () if self._is_torn(words[:end], start, first, values) else values
        if end > start:
            # "Teddy-bear" is a bear.
            parts = words_of(words[end - 1])
            for i in range(max(1, len(parts) - LONGEST_NAME), len(parts)):
                if values := self.equal(" ".join(parts[i:])):
                    return values
        return ()

    def _is_torn(self, words: Sequence[str], start: int, first: int, values: Values) -> bool:
        """Whether the words before a name name another label, and nothing says how they relate.

        "Man hugs dog" may be of a verb that is not known here; "hot dog" is no dog.
        """
        if first > start and len(words_of(words[first])) == 1:
            pair = (words[first - 1], words_of(words[first])[0])
            if pair in lex.NOT_THEIR_LAST_WORD or (pair[0], pair[1].removesuffix("s")) in (
                lex.NOT_THEIR_LAST_WORD
            ):
                return True
        for i in range(start + 1, first):
            word = words[i]
            looks_like_a_verb = (
                (word.endswith("ed") and word not in lex.ED_NOUNS | lex.ED_ENDS_OF_COMPOUNDS)
                or is_plural(word)
                or word in lex.CONJUNCTIONS
            ) and not is_modifier(word)
            others = self.equal(words[i - 1]) if looks_like_a_verb else ()
            if others and others != values and not is_modifier(words[i - 1]):
                return True
        return False

    def is_name(self, words: tuple[str, ...]) -> bool:
        return bool(self.equal(" ".join(words)))

    def _first(self, text: str) -> Values:
        return self._closest(text)[0]

    def _closest(self, text: str) -> tuple[Values, int]:
        """The labels with the closest name, and which kind of name that is: 0, 1 or 2."""
        for keys_of, tables in zip(_KEYS, self._tables, strict=True):
            keys = keys_of(text)
            for kind, table in enumerate(tables):
                found = dict.fromkeys(value for key in keys if key in table for value in table[key])
                if found:
                    return tuple(found), kind
        return (), 0


def _match(values: Values, rule: LabelRule) -> LabelMatch:
    if len(values) == 1:
        return LabelMatch(values[0], rule)
    return LabelMatch(None, LabelRule.NONE)


def _as_words(text: str) -> Keys:
    words = words_of(text)
    return (words,) if words else ()


def _as_joined(text: str) -> Keys:
    return (spelled,) if (spelled := joined(words_of(text))) else ()


def _as_singular(text: str) -> Keys:
    return tuple(joined(words) for words in in_the_singular(words_of(text)))


def _unless_a_dash(text: str) -> Keys:
    return (text,) if text.strip("-_ ") else ()


# What two names have in common, from the closest to what is least so.
_KEYS: tuple[Callable[[str], Keys], ...] = (
    _unless_a_dash,
    lambda text: _unless_a_dash(collapsed(text)),
    lambda text: _unless_a_dash(folded(text)),
    _as_words,
    _as_joined,
    _as_singular,
)


def _table(kind: Iterable[tuple[str, str]], keys_of: Callable[[str], Keys]) -> Table:
    table: dict[Hashable, dict[str, None]] = {}
    for name, value in kind:
        for key in keys_of(name):
            table.setdefault(key, {})[value] = None
    return {key: tuple(values) for key, values in table.items()}
