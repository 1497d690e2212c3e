"""Look closer: the prompt of a task, asked inside a rectangle that an annotator drew.

Label Studio sends the rectangle alone. The prompt is the newest that is known of the task: one in
the context, in what is saved of the task, or one that this process was asked lately; then the
prompt that the project remembers; then the labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from grounded_labeler.core.prompt import phrases_from_labels
from grounded_labeler.errors import PromptError
from grounded_labeler.label_studio.context import read_context, typed_overrides
from grounded_labeler.label_studio.queries import (
    Query,
    query_of_annotator,
    read_prompt,
    usable_prompt,
)
from grounded_labeler.label_studio.schema import ImageTarget, LabelConfig, Overrides
from grounded_labeler.label_studio.search_area import SearchArea, read_search_areas
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.prompts.history import prompt_key
from grounded_labeler.prompts.recent import RecentPrompt
from grounded_labeler.service import Service
from grounded_labeler.weights.summary import PairSummary

_NOTHING_TO_ASK = (
    "There is nothing to look for inside the rectangle: type a prompt first, or add labels to the "
    "label config."
)


@dataclass(frozen=True)
class LookCloser:
    """Makes the queries of what annotators of one project look closer at."""

    project_id: str
    config: LabelConfig
    service: Service
    models: PairSummary

    def note(self, context: object, task: Task) -> None:
        """Note what an annotator typed for each image of a task that has a tag to look closer."""
        if task.get("id") is None:
            return  # what was typed for one such task must not be asked for another one
        for target in self.config.images:
            if target.search_name and (typed := read_context(context, target)) is not None:
                overrides = typed.overrides
                prompt = RecentPrompt(
                    typed.text,
                    overrides.box_threshold,
                    overrides.text_threshold,
                    _newest_saved(task).stamp,
                )
                self.service.recent_prompts.note(self._key(task, target), prompt)

    def queries(self, context: object, task: Task) -> list[Query]:
        """Return a query for each image of a task that an annotator wants looked at closer.

        Raises PromptError, with a sentence for the annotator, when there is nothing to ask or a
        threshold or the rectangle cannot be used.
        """
        return [
            self._query(target, area, *self._typed(target, context, task))
            for target, area in read_search_areas(context, self.config)
        ]

    def _query(
        self, target: ImageTarget, area: SearchArea, typed: str | None, overrides: Overrides
    ) -> Query:
        text = typed or self._remembered(target)
        prompt = phrases_from_labels(target.labels) if text is None else read_prompt(text, target)
        # Labels that stand in the task are added to those of the config later.
        if not prompt.phrases and not target.has_task_labels:
            raise PromptError(_NOTHING_TO_ASK)
        query = query_of_annotator(
            target, prompt, text, overrides, settings=self.service.settings, models=self.models
        )
        is_remembered = typed is None and text is not None
        return replace(query, is_remembered=is_remembered, inside=area)

    def _remembered(self, target: ImageTarget) -> str | None:
        if target.prompt_name is None:
            return None  # one of an earlier label config, which nobody sees or can change
        text = self.service.prompts.newest(prompt_key(self.project_id, target.name))
        return usable_prompt(text, target)

    def _typed(
        self, target: ImageTarget, context: object, task: Task
    ) -> tuple[str | None, Overrides]:
        """The prompt that was typed for a task, None if none is known, and its thresholds."""
        in_context = read_context(context, target)
        if in_context is not None:
            return in_context.text, in_context.overrides
        saved = _newest_saved(task)
        if target.prompt_name is None:
            return None, typed_overrides(saved.result, target)
        recent = self.service.recent_prompts.newest(self._key(task, target))
        is_newer = recent is not None and recent.saved == saved.stamp
        in_saved = None if is_newer else read_context({"result": saved.result}, target)
        if in_saved is not None:
            return in_saved.text, in_saved.overrides
        if recent is not None:
            overrides = Overrides(
                box_threshold=recent.box_threshold, text_threshold=recent.text_threshold
            )
            return recent.text, overrides
        return None, typed_overrides(saved.result, target)

    def _key(self, task: Task, target: ImageTarget) -> str:
        return f"{task.get('id')}/{prompt_key(self.project_id, target.name)}"


@dataclass(frozen=True)
class _Saved:
    """The results of a draft or an annotation, and what tells this state of it from others."""

    result: object
    stamp: str


def _newest_saved(task: Task) -> _Saved:
    """The draft of a task that was saved last or, without drafts, such an annotation."""
    for kind in ("drafts", "annotations"):
        every = task.get(kind)
        saved = [one for one in every if isinstance(one, dict)] if isinstance(every, list) else []
        if saved:
            newest = max(saved, key=_saved_at)
            return _Saved(newest.get("result"), f"{kind} {newest.get('id')} {_saved_at(newest)}")
    return _Saved(None, "")


def _saved_at(saved: Mapping[str, object]) -> str:
    """The time when it was saved, as Label Studio writes it; text of one length sorts as time."""
    return str(saved.get("updated_at") or "")
