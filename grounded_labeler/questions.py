"""What is asked of each image of a project: the typed prompt, a remembered one, or the labels."""

from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Question:
    """What is asked of one Image tag, for every task of a request.

    `text` is the prompt as a person typed it, now or earlier; None when the
    project's labels are the prompt.
    """

    target: ImageTarget
    prompt: Prompt
    thresholds: Thresholds
    text: str | None


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
    return [question for question in questions if question.prompt.phrases]


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
