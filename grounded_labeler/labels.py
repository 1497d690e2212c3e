"""Which label of the project each phrase of a prompt means."""

from collections.abc import Sequence
from functools import lru_cache

from grounded_labeler.prompt import Phrase, names_of
from grounded_labeler.targets import Label


def label_for(phrase: Phrase, labels: Sequence[Label]) -> str | None:
    """The value of the project's label that a phrase means, or None.

    That is the label the prompt maps the phrase to; or else the one it equals, by value,
    predicted value or own prompt, whatever the case, the number and the spacing; or else
    the one that is its head noun, as "fire truck" is of "old fire trucks in a street".
    Plurals and head nouns are those of English. Where a phrase names two labels and
    nothing tells which of them it means, there is none: a wrong label is worse.
    """
    return labels_of((phrase,), tuple(labels))[0]


@lru_cache(maxsize=16)
def labels_of(phrases: tuple[Phrase, ...], labels: tuple[Label, ...]) -> tuple[str | None, ...]:
    """The label that each phrase means, as label_for has it; kept for the next image."""
    names = names_of(labels)
    values = frozenset(label.value for label in labels)
    found = []
    for phrase in phrases:
        if phrase.label is None:
            found.append(names.meant(phrase.text))
        elif phrase.label in values:
            found.append(phrase.label)
        else:
            # A label the project does not have is a mistake: no second guess.
            equal = names.equal(phrase.label)
            found.append(equal[0] if len(equal) == 1 else None)
    return tuple(found)
