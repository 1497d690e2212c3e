"""A prompt, cut into phrases for the detector."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Self

from grounded_labeler._text import shorten
from grounded_labeler.core import lexicon as lex
from grounded_labeler.core import signs
from grounded_labeler.core.cutting import Part, cut
from grounded_labeler.core.grammar import is_modifier, tokens_of
from grounded_labeler.core.label_names import LONGEST_NAME, LabelNames, LabelRule
from grounded_labeler.core.types import Label
from grounded_labeler.core.wording import spoken, without_frames
from grounded_labeler.errors import PromptError

# As many as the largest vocabularies of objects have (LVIS: 1,203): each caption asks
# for some 60 of them, and each of these is a run of the detector.
MAX_PHRASES = 1500
MAX_CHARACTERS = (
    40_000  # of a typed prompt; the service stores it and returns it with every prediction
)
_BLANKS = re.compile(r"[\s_]+")
_BESIDE = signs.MINUS_SIGNS + signs.MARKS + "#@/& "
_BEFORE = signs.OPENING_QUOTES + signs.OPENING_BRACKETS + "_ "


@dataclass(frozen=True)
class Phrase:
    """One thing to look for; `text` is the phrase given to the detector, without underscores.

    `label` is the label it was mapped to in the prompt, which the project may not
    have. What a `negative` phrase finds is left out. `threshold` is the box threshold in
    [0, 1] that was typed for it, which holds whatever else is set; None where none was.
    `rule` says why it has `label`, if it has one.
    """

    text: str
    label: str | None = None
    negative: bool = False
    threshold: float | None = None
    rule: LabelRule = field(default=LabelRule.MAPPED, compare=False)


@dataclass(frozen=True)
class Prompt:
    """The phrases of one prompt, each text once, in the order they were typed."""

    phrases: tuple[Phrase, ...]

    def without_thresholds(self) -> Self:
        """Return the same phrases as if no threshold had been typed."""
        return replace(self, phrases=tuple(replace(one, threshold=None) for one in self.phrases))


def parse_prompt(text: str, labels: Sequence[Label]) -> Prompt:
    """Cut a typed prompt into phrases at `.`, `,`, `;`, line ends and between two nouns at "and".

    A phrase may name its label, as `small cat -> Cat` or `small cat_Cat`; a label of
    `labels` gets its spelling there. A phrase that begins with `-` is negative. A phrase may
    have a box threshold, as `red car > 0.2`. Raises PromptError for one that is not in [0, 1],
    and for a `>` without one, unless it is in a label's name.
    """
    return _parsed(text, tuple(labels))


@lru_cache(maxsize=16)
def _parsed(text: str, labels: tuple[Label, ...]) -> Prompt:
    """`parse_prompt`, once for all who read one prompt: its request does so four times."""
    names = names_of(labels)
    return _prompt(_phrase(part, names) for part in cut(text, names))


@lru_cache(maxsize=16)
def names_of(labels: tuple[Label, ...]) -> LabelNames:
    """Return the names of a project's labels; cached for the projects in use."""
    return LabelNames(
        labels,
        [
            (name, label.value)
            for label, phrases in _own_phrases(labels)
            if label.prompt
            for typed, phrase in phrases
            if phrase.text and not phrase.negative
            for name in dict.fromkeys((typed, phrase.text))
        ],
    )


def _own_phrases(
    labels: tuple[Label, ...],
) -> Iterator[tuple[Label, list[tuple[str, Phrase]]]]:
    """The phrases to ask for each label with, and how they are typed in its prompt."""
    names = LabelNames(labels if any(label.prompt for label in labels) else ())
    for label in labels:
        if label.prompt:
            try:
                parts = list(cut(label.prompt, names))
            except PromptError as error:
                raise PromptError(
                    f'The prompt of the label "{shorten(label.value)}" cannot be read. {error}',
                    error.cited,
                ) from None
            yield label, [(part.typed, _phrase(part, names)) for part in parts]
        else:
            yield label, [(label.value, Phrase(spoken(label.value)))]


def phrases_from_labels(labels: Iterable[Label]) -> Prompt:
    """Ask for every label: with the phrases of its `prompt`, or else with its value."""
    return _asked_for(tuple(labels))


@lru_cache(maxsize=16)
def _asked_for(labels: tuple[Label, ...]) -> Prompt:
    return _prompt(
        replace(
            phrase,
            label=label.value,
            rule=LabelRule.OWN_PROMPT if label.prompt else LabelRule.VALUE,
        )
        for label, phrases in _own_phrases(labels)
        for _, phrase in phrases
    )


def _phrase(part: Part, names: LabelNames) -> Phrase:
    """One phrase; its text is empty when there is nothing to look for."""
    typed, mapped = " ".join(part.typed.split()).lstrip(_BEFORE), part.label
    negative = typed.startswith(tuple(signs.MINUS_SIGNS))
    typed = typed.lstrip(signs.MINUS_SIGNS + _BEFORE)
    label, rule = None, LabelRule.MAPPED
    if mapped is not None:
        label = " ".join(mapped.split()) or None
        values = names.spelled_values(label) if label else ()
        label = values[0] if len(values) == 1 else label
    else:
        typed, label = _cut_label(typed, names)
    text = without_frames(spoken(typed)).lstrip(_BESIDE)
    if label is None and (meant := names.meant(typed)) != names.meant(text):
        # What is not said to the detector may tell labels apart: an emoji, a label's own prompt.
        label, rule = meant, names.match(typed).rule
    return Phrase(text, label, negative, part.threshold, rule)


def _cut_label(typed: str, names: LabelNames) -> tuple[str, str | None]:
    """Split `brown cat_cats` before the longest label that follows an underscore, if there is one.

    An underscore inside a label does not cut, as in `red sports_car`, nor does one after
    words that name nothing by themselves, as in `red_circle`.
    """
    if "_" not in typed or names.equal(typed):
        return typed, None
    gaps = list(_BLANKS.finditer(typed.rstrip("_ ")))
    for gap in gaps[-LONGEST_NAME:]:
        before, name = typed[: gap.start()], typed[gap.end() :]
        if "_" not in gap[0]:
            if names.equal(name):
                break
        elif len(values := names.spelled_values(name)) == 1:
            words = tokens_of(before.replace("_", " "))
            if all(is_modifier(word) or word in lex.NEGATORS for word in words):
                break
            return before, values[0]
    return typed, None


def _prompt(phrases: Iterable[Phrase]) -> Prompt:
    """Each text once, at its first place; what comes later counts if it is the first of its kind.

    That is a minus sign, a label, or a threshold.
    """
    kept: dict[str, Phrase] = {}
    for phrase in phrases:
        known = kept.setdefault(phrase.text.casefold(), phrase)
        kept[phrase.text.casefold()] = replace(
            known,
            label=known.label or phrase.label,
            rule=known.rule if known.label else phrase.rule,
            negative=known.negative or phrase.negative,
            threshold=phrase.threshold if known.threshold is None else known.threshold,
        )
    kept.pop("", None)
    return Prompt(tuple(kept.values()))
