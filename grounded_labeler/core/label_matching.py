"""Which label of the project each phrase of a prompt means."""

from collections.abc import Sequence
from functools import lru_cache

from grounded_labeler.core.label_names import LabelMatch, LabelNames, LabelRule
from grounded_labeler.core.prompt import Phrase, names_of
from grounded_labeler.core.types import Label


def label_for(phrase: Phrase, labels: Sequence[Label]) -> str | None:
    """The value of the project's label that a phrase means, or None.

    That is the label the prompt maps the phrase to; or else the one it equals, by value,
    predicted value or own prompt, whatever the case, the number and the spacing; or else
    the one that is its head noun, as "fire truck" is of "old fire trucks in a street".
    Plurals and head nouns are those of English. Where a phrase names two labels and
    nothing tells which of them it means, there is none: a wrong label is worse.
    """
    return match(phrase, labels).label


def match(phrase: Phrase, labels: Sequence[Label]) -> LabelMatch:
    """Return the label that a phrase means, as `label_for` describes it, and why it is that one."""
    return _match(phrase, names_of(tuple(labels)))


@lru_cache(maxsize=16)
def labels_of(phrases: tuple[Phrase, ...], labels: tuple[Label, ...]) -> tuple[str | None, ...]:
    """Return the label that each phrase means, as `label_for` does; cached for the next image."""
    names = names_of(labels)
    return tuple(_match(phrase, names).label for phrase in phrases)


def _match(phrase: Phrase, names: LabelNames) -> LabelMatch:
    if phrase.label is None:
        return names.match(phrase.text)
    if phrase.label in names.values:
        return LabelMatch(phrase.label, phrase.rule)
    # A label the project does not have is a mistake: no second guess.
    equal = names.equal(phrase.label)
    if len(equal) == 1:
        return LabelMatch(equal[0], phrase.rule)
    return LabelMatch(None, LabelRule.NONE)
