"""The phrases that are tried for a label, and the prompt that is made of those that are kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

from grounded_labeler._text import shorten
from grounded_labeler.core.plurals import is_plural, singulars
from grounded_labeler.core.prompt import names_of, parse_prompt, phrases_from_labels
from grounded_labeler.core.types import Label
from grounded_labeler.errors import PromptError

_FORM = 'write --try "car: vehicle, automobile, -toy car"'
_MAX_NAMED = 300  # characters of a list of labels
# Of a singular's ending, what its plural has instead; the first that fits.
_PLURAL_ENDINGS = (
    ("person", "people"), ("child", "children"), ("mouse", "mice"), ("goose", "geese"),
    ("foot", "feet"), ("tooth", "teeth"), ("man", "men"), ("knife", "knives"), ("leaf", "leaves"),
    ("shelf", "shelves"), ("wolf", "wolves"),
    *((f"{vowel}y", f"{vowel}ys") for vowel in "aeiou"), ("y", "ies"),
    *((ending, f"{ending}es") for ending in ("s", "x", "z", "ch", "sh")),
)  # fmt: skip


@dataclass(frozen=True)
class Phrases:
    """What a label is asked with: `wanted` phrases, and `unwanted` ones, whose boxes are left out.

    No phrase is in it twice, whatever the case.
    """

    wanted: tuple[str, ...]
    unwanted: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.wanted) + len(self.unwanted)

    @property
    def prompt(self) -> str:
        """As a label's `prompt` attribute has it."""
        return " . ".join((*self.wanted, *(f"-{text}" for text in self.unwanted)))

    @property
    def keys(self) -> frozenset[str]:
        """What two sets of phrases share where they share a phrase."""
        return frozenset(text.casefold() for text in (*self.wanted, *self.unwanted))

    def is_same(self, other: "Phrases") -> bool:
        """Whether the other one asks for the same, whatever the case and the order."""
        return _keys(self.wanted) == _keys(other.wanted) and _keys(self.unwanted) == _keys(
            other.unwanted
        )

    def __or__(self, other: "Phrases") -> "Phrases":
        """Both; what one of them wants and the other does not is wanted."""
        wanted = _once((*self.wanted, *other.wanted))
        taken = _keys(wanted)
        unwanted = _once((*self.unwanted, *other.unwanted))
        return Phrases(wanted, tuple(text for text in unwanted if text.casefold() not in taken))


@dataclass(frozen=True)
class Trial:
    """One label: what it is asked with now, and all that it may be asked with.

    `every` holds `now`, too.
    """

    label: str
    now: Phrases
    every: Phrases

    @property
    def steps(self) -> tuple[Phrases, ...]:
        """Each phrase by itself: what may be added to others, or stand alone if it is wanted."""
        wanted = (Phrases((text,)) for text in self.every.wanted)
        return (*wanted, *(Phrases((), (text,)) for text in self.every.unwanted))


def read_trials(texts: Iterable[str], labels: Sequence[Label]) -> dict[str, Phrases]:
    """Read what is to be tried, each as "car: vehicle, automobile, -toy car", by label value.

    The label may be written in any case, as its value or what else is taken for it. Raises
    PromptError when it is not among `labels`, or when there is no phrase.
    """
    read: dict[str, Phrases] = {}
    for text in texts:
        label, phrases = _split(text, labels)
        read[label] = read.get(label, Phrases(())) | phrases
    return read


def trials(labels: Sequence[Label], extra: Mapping[str, Phrases]) -> tuple[Trial, ...]:
    """Return what is tried for each label: what holds now, its names, their plurals, and `extra`.

    A phrase that another label is asked with now is left out: it would be asked for that one. So
    is a phrase that a prompt would not be cut into as it stands. A label that is asked with such
    a phrase now, as "-ve cell" is by its value, keeps it: no prompt can say it beside others.
    """
    now = asked_with(labels)
    made = []
    for label in labels:
        mine = now.get(label.value, Phrases(()))
        others = frozenset[str]().union(
            *(own.keys for value, own in now.items() if value != label.value)
        )
        names = (label.value, *label.predicted_values)
        own = Phrases(_once([*names, *filter(None, map(plural_of, names))]))
        more = own | extra.get(label.value, Phrases(()))
        allowed = Phrases(
            tuple(one for one in more.wanted if _stands(one, label, labels, others)),
            tuple(one for one in more.unwanted if _stands(f"-{one}", label, labels, others)),
        )
        every = mine | allowed if _can_be_written(mine, label) else mine
        made.append(Trial(label.value, mine, every))
    return tuple(made)


def not_tried(trials: Iterable[Trial], extra: Mapping[str, Phrases]) -> list[str]:
    """Say which phrases of `extra` are not tried, a sentence for each label; see `trials`."""
    said = []
    for one in trials:
        more = extra.get(one.label, Phrases(()))
        wanted, unwanted = _keys(one.every.wanted), _keys(one.every.unwanted)
        left = Phrases(
            tuple(text for text in more.wanted if text.casefold() not in wanted),
            tuple(text for text in more.unwanted if text.casefold() not in unwanted),
        )
        if left:
            said.append(
                f'Not tried for {one.label}: "{shorten(left.prompt, _MAX_NAMED)}". The label or '
                "another one is asked with it already, or no prompt can say it."
            )
    return said


def asked_with(labels: Sequence[Label]) -> dict[str, Phrases]:
    """Return the phrases that each label of a project is asked with, by its value."""
    phrases = sorted(phrases_from_labels(labels).phrases, key=lambda one: one.label or "")
    return {
        label: Phrases(
            tuple(one.text for one in own if not one.negative),
            tuple(one.text for one in own if one.negative),
        )
        for label, group in groupby(phrases, attrgetter("label"))
        if (own := list(group)) and label is not None
    }


def with_phrases(labels: Sequence[Label], chosen: Mapping[str, Phrases]) -> tuple[Label, ...]:
    """Return the labels, asked with these phrases by their values; the others stay as they are."""
    return tuple(
        replace(label, prompt=chosen[label.value].prompt) if label.value in chosen else label
        for label in labels
    )


def plural_of(text: str) -> str | None:
    """Return the English plural of a noun phrase; None where it has none, or is one already."""
    before, gap, word = text.rpartition(" ")
    if not word.isalpha() or not word.isascii() or is_plural(word.lower()):
        return None
    lower = word.lower()
    ending, plural = next((pair for pair in _PLURAL_ENDINGS if lower.endswith(pair[0])), ("", "s"))
    made = word[: len(word) - len(ending)] + plural
    return f"{before}{gap}{made}" if lower in singulars(made.lower()) else None


def _split(text: str, labels: Sequence[Label]) -> tuple[str, Phrases]:
    names = names_of(tuple(labels))
    parts = text.split(":")
    if any("\ud800" <= char <= "\udfff" for char in text):  # bytes that a shell passed on
        shown = text.encode("utf-8", "backslashreplace").decode()
        raise PromptError(f'--try "{shorten(shown)}" is no text in UTF-8.')
    if len(parts) < 2:
        raise PromptError(f'--try "{shorten(text)}" names no label: {_FORM}.')
    # A label may have a colon in it.
    for count in range(len(parts) - 1, 0, -1):
        values = names.equal(":".join(parts[:count]).strip())
        if len(values) == 1:
            phrases = parse_prompt(":".join(parts[count:]), ()).phrases
            if not phrases:
                raise PromptError(f'--try "{shorten(text)}" has no phrase: {_FORM}.')
            if any(one.threshold is not None for one in phrases):
                raise PromptError(
                    f'--try "{shorten(text)}" has a box threshold: leave it out, as tune chooses '
                    "one for each label."
                )
            return values[0], Phrases(
                tuple(one.text for one in phrases if not one.negative),
                tuple(one.text for one in phrases if one.negative),
            )
    known = ", ".join(label.value for label in labels)
    raise PromptError(
        f'--try "{shorten(text)}" is for the label "{shorten(parts[0].strip())}", which is not '
        f"there: the labels are {shorten(known, _MAX_NAMED)}."
    )


def _stands(text: str, label: Label, labels: Sequence[Label], others: frozenset[str]) -> bool:
    """Whether a prompt that is `text` alone is one phrase, which no other label is asked with."""
    wanted = _of_prompt(text)
    try:
        asked = asked_with(with_phrases(labels, {label.value: wanted})).get(label.value)
    except PromptError:  # a ">" that no threshold follows
        return False
    return asked is not None and asked.is_same(wanted) and not asked.keys & others


def _can_be_written(phrases: Phrases, label: Label) -> bool:
    """Whether a prompt of these phrases is cut into them again; a label's value may not be."""
    if not phrases:
        return True
    try:
        asked = asked_with(with_phrases((label,), {label.value: phrases})).get(label.value)
    except PromptError:
        return False
    return asked is not None and asked.is_same(phrases)


def _of_prompt(text: str) -> Phrases:
    return Phrases((), (text[1:],)) if text.startswith("-") else Phrases((text,))


def _keys(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(text.casefold() for text in texts)


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    kept: dict[str, str] = {}
    for text in texts:
        kept.setdefault(text.casefold(), text)
    return tuple(kept.values())
