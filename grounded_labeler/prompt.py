"""What a request asks for: the prompt in its context, cut into phrases for the detector."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from grounded_labeler.errors import BadRequest, PromptError
from grounded_labeler.targets import ImageTarget, Label, Overrides

# A dot between two digits belongs to a number: "a 3.5 inch disk".
_SEPARATOR = re.compile(r"(?<!\d)\.|\.(?!\d)|[,;\r\n]")
_ARROW = re.compile("->|→")
# As many as the largest vocabularies of objects have (LVIS: 1,203): each caption asks
# for some 60 of them, and each of these is a run of the detector.
MAX_PHRASES = 1500
MAX_CHARACTERS = 40_000  # of a typed prompt; it is kept, and sent back with every answer
# Words between underscores; keeps a long line of underscores from taking for ever.
_LONGEST_LABEL = 8


@dataclass(frozen=True)
class Phrase:
    """One thing to look for; `text` is what the detector is asked, without underscores.

    `label` is the label it was mapped to in the prompt, which the project may not
    have. What a `negative` phrase finds is left out.
    """

    text: str
    label: str | None = None
    negative: bool = False


@dataclass(frozen=True)
class Prompt:
    """The phrases of one prompt, each text once, in the order they were typed."""

    phrases: tuple[Phrase, ...]


@dataclass(frozen=True)
class TypedPrompt:
    """An annotator typed `text`, and perhaps thresholds, which win over all others."""

    text: str
    overrides: Overrides


def parse_prompt(text: str, label_values: Sequence[str]) -> Prompt:
    """Cut a typed prompt into phrases at `.`, `,`, `;` and line ends.

    A phrase may name its label, as `small cat -> Cat` or `small cat_Cat`; a label of
    `label_values` gets its spelling there. A phrase that begins with `-` is negative.
    """
    spellings = {value.casefold(): value for value in label_values}
    return _prompt(_phrase(part, spellings) for part in _SEPARATOR.split(text))


def phrases_from_labels(labels: Iterable[Label]) -> Prompt:
    """Ask for every label: with the phrases of its `prompt`, or else with its value."""
    return _prompt(phrase for label in labels for phrase in _phrases_for(label))


def newest_prompt(result: object, target: ImageTarget) -> str | None:
    """The prompt last typed for an image in the `result` list of a context or an annotation.

    None when there is none. What does not look like a result is passed over.
    """
    texts = [
        text
        for value in _values(result, target.prompt_name, target)
        for text in _as_list(value.get("text"))
        if isinstance(text, str)
    ]
    return _storable(texts[-1]).strip() or None if texts else None


def read_context(context: object, target: ImageTarget) -> TypedPrompt | None:
    """What an annotator typed for an image, by a request's `params.context`.

    None when there is no prompt, as in what Label Studio sends after every Submit: boxes
    in the answer would pop up on the annotation just saved. Raises BadRequest when the
    context is no object, PromptError when a typed threshold is no fraction.
    """
    if not isinstance(context, dict):
        raise BadRequest(
            f"params.context must be an object or null, but it is of type {type(context).__name__}."
        )
    result = context.get("result")
    text = newest_prompt(result, target)
    if text is None:
        return None
    if len(text) > MAX_CHARACTERS:
        raise PromptError(f"The prompt has more than {MAX_CHARACTERS:,} characters: shorten it.")
    overrides = Overrides(
        box_threshold=_typed_fraction(result, "box_threshold", target),
        text_threshold=_typed_fraction(result, "text_threshold", target),
    )
    return TypedPrompt(text, overrides)


def _storable(text: str) -> str:
    """`text` as every database takes it: no NUL, no half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")


def _phrase(part: str, spellings: dict[str, str]) -> Phrase:
    """One phrase; its text is empty when there is nothing to look for."""
    typed, *mapped = _ARROW.split(part, maxsplit=1)
    typed = " ".join(typed.split()).lstrip("_ ")
    negative = typed.startswith("-")
    typed = typed.lstrip("-_ ")
    if mapped:
        label = " ".join(mapped[0].split()) or None
        label = spellings.get(label.casefold(), label) if label else None
    else:
        typed, label = _cut_label(typed, spellings)
    return Phrase(_spoken(typed), label, negative)


def _cut_label(typed: str, spellings: dict[str, str]) -> tuple[str, str | None]:
    """Split `brown cat_cats` before the last underscore that a label follows, if there is one."""
    if typed.casefold() in spellings:
        return typed, None
    words = typed.split("_")
    for cut in range(len(words) - 1, max(0, len(words) - 1 - _LONGEST_LABEL), -1):
        label = spellings.get("_".join(words[cut:]).strip().casefold())
        if label:
            return "_".join(words[:cut]), label
    return typed, None


def _phrases_for(label: Label) -> Iterator[Phrase]:
    if label.prompt:
        for phrase in parse_prompt(label.prompt, ()).phrases:
            yield replace(phrase, label=label.value)
    else:
        yield Phrase(_spoken(_SEPARATOR.sub(" ", label.value)), label.value)


def _spoken(text: str) -> str:
    return " ".join(text.replace("_", " ").split())


def _prompt(phrases: Iterable[Phrase]) -> Prompt:
    """Each text once, at its first place; a minus sign or a label that comes later counts."""
    kept: dict[str, Phrase] = {}
    for phrase in phrases:
        known = kept.setdefault(phrase.text.casefold(), phrase)
        kept[phrase.text.casefold()] = replace(
            known, label=known.label or phrase.label, negative=known.negative or phrase.negative
        )
    kept.pop("", None)
    return Prompt(tuple(kept.values()))


def _values(
    result: object, from_name: str | None, target: ImageTarget
) -> Iterator[dict[str, object]]:
    """The `value` of every result that the control `from_name` made on the image, oldest first."""
    for item in _as_list(result):
        if (
            isinstance(item, dict)
            and from_name is not None
            and item.get("from_name") == from_name
            and item.get("to_name") in (None, target.name)
            and isinstance(value := item.get("value"), dict)
        ):
            yield value


def _typed_fraction(result: object, name: str, target: ImageTarget) -> float | None:
    numbers = [
        number
        for value in _values(result, name, target)
        if isinstance(number := value.get("number"), int | float) and not isinstance(number, bool)
    ]
    if not numbers:
        return None
    if not 0 <= numbers[-1] <= 1:
        raise PromptError(f"{name} is {numbers[-1]}, but it must be a number from 0 to 1.")
    return float(numbers[-1])


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
