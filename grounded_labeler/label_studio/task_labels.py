"""Labels that a task brings in its data, as `<Labels value="$brands">` has them.

https://labelstud.io/tags/labels and the editor's own code (DynamicChildrenMixin, SelectedModel)
say what they are: a list of objects with the attributes of `<Label>`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from grounded_labeler._text import shorten
from grounded_labeler.core.types import Label
from grounded_labeler.errors import PromptError
from grounded_labeler.label_studio.config_tags import read_fraction
from grounded_labeler.label_studio.schema import ImageTarget, TaskLabels

VARIABLE = re.compile(r"\$([\w\[\].{}]+)")  # as the editor finds it
_STEP = re.compile(r"[^.\[\]]+")
_MAX_LABELS = 5000  # of one task; what is asked about them has a limit of its own


def make_label(
    shown: str,
    alias: str,
    predicted_values: str,
    prompt: str,
    *,
    score_threshold: float | None = None,
) -> Label:
    """The label of a `<Label>` with these attributes, "" where it has none."""
    means = [part.strip() for part in predicted_values.split(",")]
    other_name = shown if alias and shown != alias else ""
    return Label(
        value=alias or shown,
        predicted_values=tuple(dict.fromkeys(filter(None, [other_name, *means]))),
        prompt=prompt.strip() or other_name or None,
        score_threshold=score_threshold,
    )


def merged(labels: Iterable[Label]) -> tuple[Label, ...]:
    """Each value once: several controls of an image usually repeat the same labels."""
    known: dict[str, Label] = {}
    for label in labels:
        first = known.setdefault(label.value, label)
        known[label.value] = replace(
            first,
            predicted_values=tuple(
                dict.fromkeys((*first.predicted_values, *label.predicted_values))
            ),
            prompt=first.prompt or label.prompt,
            score_threshold=(
                label.score_threshold if first.score_threshold is None else first.score_threshold
            ),
        )
    return tuple(known.values())


def with_task_labels(target: ImageTarget, data: Mapping[str, Any]) -> ImageTarget:
    """`target` with the labels that the data of one task has for it.

    Raises PromptError when they are too many.
    """
    if not target.has_task_labels:
        return target
    found: dict[TaskLabels, tuple[Label, ...]] = {}
    for control in target.controls:
        for source in control.task_labels:
            if source not in found:
                found[source] = tuple(_labels(source, data))
    controls = tuple(
        replace(
            control,
            labels=merged(
                (*control.labels, *(one for source in control.task_labels for one in found[source]))
            ),
            task_labels=(),
        )
        for control in target.controls
    )
    labels = merged(label for control in controls for label in control.labels)
    return replace(target, controls=controls, labels=labels)


def _labels(source: TaskLabels, data: Mapping[str, Any]) -> Iterator[Label]:
    value = _value(data, source.key)
    if source.tag is not None:
        if isinstance(value, str) and (name := value.strip()):
            yield replace(
                source.tag,
                predicted_values=tuple(dict.fromkeys((name, *source.tag.predicted_values))),
                prompt=source.tag.prompt or name,
            )
        return
    items = value if isinstance(value, list) else []
    if len(items) > _MAX_LABELS:
        raise PromptError(f"This task has more than {_MAX_LABELS:,} labels of its own.")
    for item in items:
        texts = {"value": item} if isinstance(item, str) else _texts(item)
        if texts.get("value", "").strip() or texts.get("alias", "").strip():
            yield make_label(
                *(texts.get(name, "") for name in ("value", "alias", "predicted_values", "prompt")),
                score_threshold=_threshold(item),
            )


def _threshold(item: object) -> float | None:
    """The box threshold of a label in a task's data, a number or a text as in the config."""
    value = item.get("score_threshold") if isinstance(item, dict) else None
    if value is None or value == "":
        return None
    try:
        return read_fraction(str(value))
    except ValueError as error:
        raise PromptError(
            f'A label in this task\'s data has the score_threshold "{shorten(str(value))}", which '
            f"must be {error}."
        ) from None


def _texts(item: object) -> dict[str, str]:
    """The attributes of a label in a task's data that are texts."""
    if not isinstance(item, dict):
        return {}
    return {str(name).lower(): text for name, text in item.items() if isinstance(text, str)}


def _value(data: Mapping[str, Any], path: str) -> object:
    """What `data` holds at a path such as `meta.brands` or `lists[0]`, None if it does not."""
    value: object = data
    for step in _STEP.findall(path):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
