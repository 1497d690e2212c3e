"""What is asked of each image of a project: the typed prompt, a remembered one, or the labels."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from grounded_labeler._text import shorten
from grounded_labeler.core.label_matching import labels_of
from grounded_labeler.core.postprocess import thresholds_of_phrases
from grounded_labeler.core.prompt import Prompt, parse_prompt, phrases_from_labels
from grounded_labeler.core.tiling import Tiling, parse_tiling
from grounded_labeler.core.types import Thresholds
from grounded_labeler.errors import PromptError
from grounded_labeler.label_studio.context import newest_prompt, read_context
from grounded_labeler.label_studio.drawings import Drawing, read_drawings
from grounded_labeler.label_studio.schema import ImageTarget, LabelConfig, Overrides
from grounded_labeler.label_studio.search_area import SearchArea
from grounded_labeler.label_studio.task_labels import with_task_labels
from grounded_labeler.label_studio.thresholds import choose_thresholds, unlike_displayed
from grounded_labeler.settings import Settings
from grounded_labeler.weights.summary import PairSummary

logger = logging.getLogger(__name__)

_NO_OVERRIDES = Overrides()
_EMPTY = "The prompt is empty. Type what to look for, for example: red car"
_NO_SEGMENTER_RUNS = (
    "Clicks and boxes need a segmenter, and none runs: have the service started with "
    "SEGMENTER=mobile-sam."
)
_NO_SEGMENTER_CHOSEN = (
    "Clicks and boxes need a segmenter, and this project has none: the prompt field of the label "
    'config chooses one, as segmenter="{first}". There are {all}.'
)


@dataclass(frozen=True)
class Query:
    """What is asked of one Image tag, for every task of a request.

    `text` is the prompt as a person typed it, now or earlier; None when the
    project's labels are the prompt. `is_of_task` tells that the labels of a task are in it,
    `is_remembered` that it was typed earlier.
    `with_near_misses` has regions counted, too, that score a little less than their threshold;
    `candidates_from` asks for all candidates that score at least this. `remark` is a sentence
    about the thresholds for the annotator, or empty. `tiling` has tiles looked at, too; `inside`
    has nothing looked at but this part of the image.
    `with_embedding` asks for what near-duplicates are known by, and shapes no answer.
    """

    target: ImageTarget
    prompt: Prompt
    thresholds: Thresholds
    text: str | None
    is_of_task: bool = False
    is_remembered: bool = False
    with_near_misses: bool = False
    candidates_from: float | None = None
    remark: str = ""
    tiling: Tiling | None = None
    inside: SearchArea | None = None
    with_embedding: bool = False

    @cached_property
    def phrase_labels(self) -> tuple[str | None, ...]:
        """The label that each phrase of the prompt means."""
        return labels_of(self.prompt.phrases, self.target.labels)

    @cached_property
    def box_thresholds(self) -> tuple[float, ...]:
        """The minimum score of each phrase of the prompt."""
        return thresholds_of_phrases(
            self.prompt, self.phrase_labels, self.target.labels, self.thresholds
        )

    def of_task(self, data: Mapping[str, Any]) -> Self:
        """Return the query as it is of one task, whose data may hold labels of its own.

        Raises PromptError when it holds none and nothing else is to be looked for, and for a
        prompt that cannot be read.
        """
        if not self.target.has_task_labels:
            return self
        target = with_task_labels(self.target, data)
        if self.text is not None:
            prompt = parse_prompt(self.text, target.labels)
        else:
            prompt = phrases_from_labels(target.labels)
        if not prompt.phrases and self.text is not None:
            raise PromptError(_EMPTY)
        if not prompt.phrases:
            keys = [source.key for one in self.target.controls for source in one.task_labels]
            names = ", ".join(f'"{shorten(key)}"' for key in dict.fromkeys(keys))
            raise PromptError(
                f"This task has no labels to look for: its data has none under {names}."
            )
        if self.candidates_from is not None:  # all of them, whatever threshold a phrase has
            prompt = prompt.without_thresholds()
        return replace(self, target=target, prompt=prompt, is_of_task=True)


@dataclass(frozen=True)
class VisualQuery:
    """What is asked of one Image tag that an annotator drew on."""

    target: ImageTarget
    drawing: Drawing

    # Nothing that a Query has of text, labels of tasks and earlier prompts.
    text: ClassVar[None] = None
    is_of_task: ClassVar[bool] = False

    def of_task(self, data: Mapping[str, Any]) -> Self:
        """Return the query with the labels that the data of one task has.

        Raises PromptError when they are too many.
        """
        return replace(self, target=with_task_labels(self.target, data))


AnyQuery = Query | VisualQuery


def interactive_queries(
    context: object, config: LabelConfig, settings: Settings, models: PairSummary
) -> list[Query] | list[VisualQuery]:
    """What an annotator typed or, where the context holds no prompt, drew; empty for neither.

    Raises PromptError, with a sentence for the annotator, when it cannot be used.
    """
    typed = typed_queries(context, config, settings, models)
    return typed or visual_queries(context, config, settings, models)


def typed_queries(
    context: object, config: LabelConfig, settings: Settings, models: PairSummary
) -> list[Query]:
    """Return a query for each image that the context holds a prompt for.

    Raises PromptError when a prompt names nothing or a threshold is no fraction. The prompt of
    an image whose tasks have labels of their own is read with these: see `Query.of_task`.
    """
    queries = []
    for target in config.images:
        typed = read_context(context, target)
        if typed is not None:
            prompt = read_prompt(typed.text, target)
            if not prompt.phrases and not target.has_task_labels:
                raise PromptError(_EMPTY)
            query = query_of_annotator(
                target, prompt, typed.text, typed.overrides, settings=settings, models=models
            )
            queries.append(replace(query, tiling=choose_tiling(settings, target)))
    return queries


def query_of_annotator(
    target: ImageTarget,
    prompt: Prompt,
    text: str | None,
    overrides: Overrides,
    *,
    settings: Settings,
    models: PairSummary,
) -> Query:
    """Return what an annotator asks of the whole of an image, who set `overrides` for it."""
    chosen = choose_thresholds(
        settings,
        models,
        typed=overrides,
        attributes=target.overrides,
        displayed=target.displayed,
    )
    return Query(
        target,
        prompt,
        chosen.thresholds,
        text,
        with_near_misses=True,
        remark=unlike_displayed(chosen, target.displayed),
    )


def visual_queries(
    context: object, config: LabelConfig, settings: Settings, models: PairSummary
) -> list[VisualQuery]:
    """Return a query for each image that something was drawn on.

    Raises PromptError when a shape has no position, or the project has no segmenter.
    """
    queries = [VisualQuery(*drawn) for drawn in read_drawings(context, config)]
    if queries and not models.choice.has_segmenter:
        *offered, _none = settings.offered.segmenters
        if not offered:
            raise PromptError(_NO_SEGMENTER_RUNS)
        raise PromptError(_NO_SEGMENTER_CHOSEN.format(first=offered[0], all=", ".join(offered)))
    return queries


def typed_notes(context: object, config: LabelConfig) -> list[tuple[ImageTarget, tuple[str, ...]]]:
    """The TextAreas with text in them that are no prompt's, of images that have no prompt's."""
    typed = [
        (target, tuple(name for name in target.notes if _has_text(context, target, name)))
        for target in config.images
    ]
    return [(target, names) for target, names in typed if names]


def default_queries(
    config: LabelConfig,
    settings: Settings,
    models: PairSummary,
    remembered: Callable[[ImageTarget], str | None],
    *,
    prompt: str | None = None,
    overrides: Overrides = _NO_OVERRIDES,
) -> list[Query]:
    """What is asked when nobody typed; empty when nothing is.

    By the `preannotate` of the prompt's tag, or else by the setting PREANNOTATE. A command
    line's `prompt` is asked whatever these say, and its `overrides` win over all others.
    Raises PromptError for a prompt that cannot be read.
    """
    queries = []
    for target in config.images:
        mode = target.preannotate or settings.preannotate
        text = prompt
        if prompt is None and mode in ("auto", "last_prompt"):
            text = usable_prompt(remembered(target), target)
        if text is not None:
            asked = read_prompt(text, target)
        elif mode in ("auto", "labels"):
            asked = phrases_from_labels(target.labels)
        else:
            continue
        chosen = choose_thresholds(
            settings,
            models,
            command_line=overrides,
            attributes=target.overrides,
            displayed=target.displayed,
        )
        is_remembered = text is not None and prompt is None
        queries.append(
            Query(
                target,
                asked,
                chosen.thresholds,
                text,
                is_remembered=is_remembered,
                tiling=choose_tiling(settings, target),
            )
        )
    return [one for one in queries if one.prompt.phrases or one.target.has_task_labels]


def choose_tiling(settings: Settings, target: ImageTarget) -> Tiling | None:
    """Which tiles are looked at: what the label config says, or else TILES."""
    return parse_tiling(target.tiles or settings.tiles)


def why_nothing(config: LabelConfig, settings: Settings) -> str:
    """Why `default_queries` are none, and what to do about it."""
    of_tags = [target.preannotate for target in config.images if target.preannotate]
    mode = of_tags[0] if of_tags else settings.preannotate
    off = f'the prompt field has preannotate="{mode}"' if of_tags else "PREANNOTATE=off says so"
    no_prompt = "no prompt is remembered for this project: type one in a task"
    no_labels = "the label config has no labels: add <Label> tags to its control tags"
    reasons = {
        "off": f"{off}: set it to auto, labels or last_prompt",
        "last_prompt": f"{no_prompt}, or set PREANNOTATE=labels",
        "labels": f"{no_labels}, or set PREANNOTATE=auto and type a prompt in a task",
        "auto": f"{no_prompt}; and {no_labels}",
    }
    return f"Nothing is looked for without a typed prompt, because {reasons[mode]}."


def read_prompt(text: str, target: ImageTarget) -> Prompt:
    """Parse a prompt for an image.

    Where each task brings labels of its own, these may say how it is to be read: there are no
    phrases yet if the others do not. Raises PromptError for a prompt that cannot be read.
    """
    try:
        return parse_prompt(text, target.labels)
    except PromptError:
        if target.has_task_labels:
            return Prompt(())
        raise


def usable_prompt(text: str | None, target: ImageTarget) -> str | None:
    """Return a remembered prompt, if it can be read with the labels of today."""
    if text is not None:
        try:
            read_prompt(text, target)
        except PromptError as error:
            # It holds the name of a label that is gone, or an older version remembered it.
            logger.warning("A remembered prompt cannot be used: %s", error)
            return None
    return text


def _has_text(context: object, target: ImageTarget, name: str) -> bool:
    result = context.get("result") if isinstance(context, dict) else None
    return newest_prompt(result, replace(target, prompt_name=name)) is not None
