"""What an annotator typed, read from the `context` of a request or from an annotation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from grounded_labeler.core.prompt import MAX_CHARACTERS
from grounded_labeler.errors import BadRequest, PromptError
from grounded_labeler.label_studio.schema import ImageTarget, Overrides

REMEMBER = "remember"


@dataclass(frozen=True)
class TypedPrompt:
    """An annotator typed `text`, and perhaps thresholds, which win over all others."""

    text: str
    overrides: Overrides


def results_in(context: object) -> list[dict[str, Any]]:
    """The results in the `params.context` of a request; what looks like none is left out."""
    result = context.get("result") if isinstance(context, dict) else None
    return [item for item in result if isinstance(item, dict)] if isinstance(result, list) else []


def is_remembered(context: object) -> bool:
    """Whether what was typed is the project's prompt from now on; a try says that it is not."""
    return not (isinstance(context, dict) and context.get(REMEMBER) is False)


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
    return TypedPrompt(text, typed_overrides(result, target))


def typed_overrides(result: object, target: ImageTarget) -> Overrides:
    """The thresholds that an annotator set for an image in a `result` list.

    Raises PromptError when one is no fraction.
    """
    return Overrides(
        box_threshold=_typed_fraction(result, "box_threshold", target),
        text_threshold=_typed_fraction(result, "text_threshold", target),
    )


def _storable(text: str) -> str:
    """`text` as every database takes it: no NUL, no half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")


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
