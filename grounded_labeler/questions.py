"""What is asked of each image of a project: the typed prompt, a remembered one, or the labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from grounded_labeler.bounded import shorten
from grounded_labeler.errors import PromptError
from grounded_labeler.pipeline import Thresholds
from grounded_labeler.prompt import (
    Prompt,
    parse_prompt,
    phrases_from_labels,
    read_context,
)
from grounded_labeler.settings import Settings
from grounded_labeler.targets import ImageTarget, LabelConfig, Overrides
from grounded_labeler.task_labels import with_task_labels


@dataclass(frozen=True)
class Question:
    """What is asked of one Image tag, for every task of a request.

    `text` is the prompt as a person typed it, now or earlier; None when the
    project's labels are the prompt. One `is_of_task` when the labels of a task are in it.
    """

    target: ImageTarget
    prompt: Prompt
    thresholds: Thresholds
    text: str | None
    is_of_task: bool = False


def typed_questions(context: object, config: LabelConfig, settings: Settings) -> list[Question]:
    """What an annotator typed; empty when the context holds no prompt.

    Raises PromptError when a prompt names nothing or a threshold is no fraction.
    """
    questions = []
    for target in config.images:
        typed = read_context(context, target)
        if typed is not None:
            prompt = parse_prompt(typed.text, [label.value for label in target.labels])
            if not prompt.phrases:
                raise PromptError('The prompt names nothing: type what to look for, as "red car".')
            limits = thresholds(settings, target.overrides, typed.overrides)
            questions.append(Question(target, prompt, limits, typed.text))
    return questions


def standing_questions(
    config: LabelConfig, settings: Settings, remembered: Callable[[ImageTarget], str | None]
) -> list[Question]:
    """What is asked when nobody typed, by the setting PREANNOTATE; empty when nothing is."""
    mode = settings.preannotate
    questions = []
    for target in config.images:
        limits = thresholds(settings, target.overrides)
        text = remembered(target) if mode in ("auto", "last_prompt") else None
        if text is not None:
            prompt = parse_prompt(text, [label.value for label in target.labels])
            questions.append(Question(target, prompt, limits, text))
        elif mode in ("auto", "labels"):
            prompt = phrases_from_labels(target.labels)
            questions.append(Question(target, prompt, limits, None))
    return [one for one in questions if one.prompt.phrases or one.target.has_task_labels]


def why_nothing(settings: Settings) -> str:
    """Why `standing_questions` are none, and what to do about it."""
    no_prompt = "no prompt is remembered for this project: type one in a task"
    no_labels = "the label config has no labels: add <Label> tags to its control tags"
    reasons = {
        "off": "PREANNOTATE=off says so: set it to auto, labels or last_prompt",
        "last_prompt": f"{no_prompt}, or set PREANNOTATE=labels",
        "labels": f"{no_labels}, or set PREANNOTATE=auto and type a prompt in a task",
        "auto": f"{no_prompt}; and {no_labels}",
    }
    return f"Nothing is looked for without a typed prompt, because {reasons[settings.preannotate]}."


def question_of_task(question: Question, data: Mapping[str, Any]) -> Question:
    """`question` as one task is asked it, whose data may hold labels of its own.

    Raises PromptError when it holds none and nothing else is to be looked for.
    """
    if not question.target.has_task_labels:
        return question
    target = with_task_labels(question.target, data)
    if question.text is not None:
        prompt = parse_prompt(question.text, [label.value for label in target.labels])
    else:
        prompt = phrases_from_labels(target.labels)
    if not prompt.phrases:
        keys = [source.key for one in question.target.controls for source in one.task_labels]
        names = ", ".join(f'"{shorten(key)}"' for key in dict.fromkeys(keys))
        raise PromptError(f"This task has no labels to look for: its data has none under {names}.")
    return replace(question, target=target, prompt=prompt, is_of_task=True)


def thresholds(
    settings: Settings, project: Overrides, annotator: Overrides | None = None
) -> Thresholds:
    """The annotator's own values win over the label config's, and these over the settings."""
    own = annotator or Overrides()

    def first(*values: float | None) -> float:
        return next(value for value in values if value is not None)

    return Thresholds(
        box=first(own.box_threshold, project.box_threshold, settings.box_threshold),
        text=first(own.text_threshold, project.text_threshold, settings.text_threshold),
        nms=first(project.nms_threshold, settings.nms_threshold),
        max_regions=project.max_regions or settings.max_regions,
    )
