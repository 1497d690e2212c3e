"""The Label Studio model: tasks and perhaps a typed prompt in, predictions out."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Self

from grounded_labeler import metrics, tracing
from grounded_labeler.core.prompt import MAX_CHARACTERS, MAX_PHRASES
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import BadRequest, NotReady, PromptError
from grounded_labeler.inference.backend import Cancelled, Priority, never_cancelled
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.config_settings import choose_models, how_to_mark
from grounded_labeler.label_studio.context import is_remembered, newest_prompt
from grounded_labeler.label_studio.interactive_layer import (
    CAPABILITIES,
    PREWARM,
    RELEASE,
    MaskImageBuilder,
    capabilities,
    event_of,
    is_of_layer,
)
from grounded_labeler.label_studio.kept_values import KeptValues
from grounded_labeler.label_studio.look_closer import LookCloser
from grounded_labeler.label_studio.ml_base import label_studio_base
from grounded_labeler.label_studio.prediction_builder import Prediction, PredictionBuilder, Result
from grounded_labeler.label_studio.predictor import Predictor
from grounded_labeler.label_studio.queries import (
    AnyQuery,
    Query,
    VisualQuery,
    default_queries,
    interactive_queries,
    read_prompt,
    typed_notes,
    why_nothing,
)
from grounded_labeler.label_studio.region_values import ValuesOf, region_values
from grounded_labeler.label_studio.regions import drawable_geometries, holds_region
from grounded_labeler.label_studio.schema import ImageTarget, LabelConfig
from grounded_labeler.label_studio.task_images import Task, load_image
from grounded_labeler.label_studio.versions import version_of
from grounded_labeler.prompts.history import prompt_key
from grounded_labeler.service import Service
from grounded_labeler.weights.summary import PairSummary

logger = logging.getLogger(__name__)

LabelStudioMLBase: Any = label_studio_base()

_ENCODE_AHEAD_TIMEOUT_S = 30.0  # who waits for longer has clicked by then


class GroundedLabeler(LabelStudioMLBase):  # type: ignore[misc]  # label-studio-ml is untyped
    """Grounding DINO and SAM behind Label Studio's interface, one instance per request.

    Works on the base class of label-studio-ml 1.x, which knows no projects, and on
    that of 2.x, whose constructor takes a project id and a label config.
    """

    service: ClassVar[Service]

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        """Raises BadRequest when `label_config` cannot be read.

        Where it can, but nothing can be drawn with it, whatever would draw raises.
        """
        config = read_label_config(label_config)
        self.choice = choose_models(config.models, self.service.settings.offered)
        self.config, self._refusal = self._drawable(config)
        self.project_id = project_id or ""
        if "project_id" in inspect.signature(LabelStudioMLBase.__init__).parameters:
            super().__init__(project_id=self.project_id, label_config=label_config)
        else:
            super().__init__()

    @classmethod
    def bound_to(cls, service: Service) -> type[Self]:
        """A subclass that uses `service`, for servers that make their models themselves."""
        return type(cls.__name__, (cls,), {"service": service})

    def _drawable(self, config: LabelConfig) -> tuple[LabelConfig, BadRequest | None]:
        """`config` without the images that nothing can be drawn on; if none is left, why not."""
        images, reasons = [], []
        for target in config.images:
            try:
                drawable_geometries(target, self.service.settings.output, self.choice.has_segmenter)
                images.append(target)
            except BadRequest as reason:
                reasons.append(reason)
        if not images:
            return config, reasons[0]
        return replace(config, images=tuple(images)), None

    def setup(self) -> None:
        """Called by label-studio-ml 2.x, which keeps the version in a store of its own."""
        self.set("model_version", self.model_version)

    @property
    def model_version(self) -> str:
        """The models and a digest of all that shapes the answer to a request without a prompt.

        Label Studio asks again for a task when this changes, and never while it stays.
        Raises BadRequest when nothing can be drawn.
        """
        self._check_drawable()
        return self._version(self._standing())

    def _version(self, standing: Sequence[Query]) -> str:
        return version_of(self.service.settings, self._models, standing)

    @cached_property
    def _models(self) -> PairSummary:
        return self.service.summary(self.choice)

    def predict(
        self,
        tasks: Sequence[Task],
        context: Mapping[str, Any] | None = None,
        *,
        cancelled: Cancelled = never_cancelled,
        with_json_text: bool = False,
        **_other: Any,  # noqa: ANN401 - what else label-studio-ml passes on
    ) -> list[Prediction]:
        """One prediction per task, in order; one without `result` is asked for again later.

        `context` is None when Label Studio pre-annotates, and holds what the annotator
        typed or drew when they ask; the answer to them always has a `result`. Raises BadRequest
        or NotReady when there is no answer and no status field to say so in, CallerGone once
        nobody waits any more, which `cancelled` tells. `with_json_text` has what is large in
        regions be `JsonText`, made once for each mask: only our own server can send that.
        """
        values_of = KeptValues(self.service.cache) if with_json_text else region_values
        if context is None:
            predictions = self._preannotate(tasks, cancelled, values_of)
            clickable = [target for target in self.config.images if target.has_smart_tools]
            if len(tasks) == 1 and clickable:  # a task that somebody opens, most likely
                self._encode_ahead(tasks[0], clickable[0])
            return predictions
        if (event := event_of(context)) is not None:
            return self._answer_event(event, tasks)
        if is_of_layer(context):
            return self._predict_mask_images(tasks, context, cancelled)
        return self._predict_interactively(tasks, context, cancelled, values_of)

    def fit(
        self,
        event: object = None,
        data: object = None,
        /,
        **named: Any,  # noqa: ANN401 - what else label-studio-ml passes on
    ) -> dict[str, Any]:
        """Learn the prompt of an event of Label Studio's, `data` as its webhooks send it.

        For the servers of label-studio-ml, which call this where ours calls `learn_prompt`:
        2.x as `fit(event, data)`, 1.x as `fit((), event=event, data=data)`.
        """
        data = named.get("data", data)
        annotation = data.get("annotation") if isinstance(data, Mapping) else None
        if isinstance(annotation, Mapping):
            self.learn_prompt(annotation)
        return {}

    def learn_prompt(self, annotation: Mapping[str, Any]) -> None:
        """Remember the prompt of an annotation that was saved with a region, and not skipped."""
        if annotation.get("was_cancelled") is True:
            return
        result = annotation.get("result")
        for target in self.config.images:
            if holds_region(result, target):
                self._remember(target, newest_prompt(result, target))

    def _check_drawable(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _predict_interactively(
        self, tasks: Sequence[Task], context: object, cancelled: Cancelled, values_of: ValuesOf
    ) -> list[Prediction]:
        """Answer what an annotator typed or drew; the status field says what cannot be answered."""
        answers = self._builder(PredictionBuilder, self._standing(), values_of, typed=True)
        try:
            queries = self._queries(tasks, context)
            if queries:
                self._check_drawable()
            else:
                return self._answer_notes(tasks, context, answers)
            predictions = self._interactive(answers, queries, cancelled).predict(tasks, queries)
        except (BadRequest, NotReady) as error:
            logger.warning("project %s: %s", self.project_id, error)
            tracing.note_error(error, is_fault=False)
            is_read = self.config.with_status or isinstance(error, PromptError)
            if not is_read or not isinstance(context, dict):
                raise  # nobody would read it in the editor
            metrics.FAILURES.labels(error.cause).inc()
            lines = answers.status([(target, str(error)) for target in self.config.with_status])
            return [answers.with_results(lines) for _ in tasks]
        for query in queries if is_remembered(context) else ():
            if isinstance(query, Query) and query.inside is not None:
                continue  # what is found in a part alone is no prompt for whole images
            if any(holds_region(one.get("result"), query.target) for one in predictions):
                self._remember(query.target, query.text)
        return predictions

    def _queries(self, tasks: Sequence[Task], context: object) -> list[Query] | list[VisualQuery]:
        """What an annotator asks: inside a rectangle, or by a prompt, clicks or boxes."""
        closer = LookCloser(self.project_id, self.config, self.service, self._models)
        inside = closer.queries(context, tasks[0]) if tasks else []
        queries = inside or interactive_queries(
            context, self.config, self.service.settings, self._models
        )
        for task in tasks if is_remembered(context) else ():
            closer.note(context, task)
        return queries

    def _answer_event(self, event: str, tasks: Sequence[Task]) -> list[Prediction]:
        """Answer the interactive layer, which sends most events whatever comes of them."""
        results: list[Result] = []
        if event == CAPABILITIES and self.choice.has_segmenter:
            results.append(capabilities(self.choice.name))
        elif event == PREWARM:
            self._encode_ahead(tasks[0], self.config.images[0])
        elif event == RELEASE:
            self.service.encode_ahead.cancel(self.project_id)
        answers = self._builder(PredictionBuilder, self._standing(), typed=True)
        return [answers.with_results(results) for _ in tasks]

    def _predict_mask_images(
        self, tasks: Sequence[Task], context: object, cancelled: Cancelled
    ) -> list[Prediction]:
        """Answer clicks and boxes of the interactive layer; what it cannot have is raised."""
        queries = interactive_queries(context, self.config, self.service.settings, self._models)
        answers = self._builder(MaskImageBuilder, self._standing(), typed=True)
        return self._interactive(answers, queries, cancelled).predict(tasks, queries[:1])

    def _encode_ahead(self, task: Task, target: ImageTarget) -> None:
        """Have the image encoded before anybody clicks on it, where that is kept for clicks."""
        if not self.service.can_encode_ahead(self.choice):
            return

        def load() -> DecodedImage:
            source, seconds = self.service.source(self.project_id), _ENCODE_AHEAD_TIMEOUT_S
            return load_image(source, task, target, seconds)

        backend = self.service.backend.of(self.choice)
        self.service.encode_ahead.begin(self.project_id, load, backend)

    def _answer_notes(
        self, tasks: Sequence[Task], context: object, answers: PredictionBuilder
    ) -> list[Prediction]:
        """Nothing was asked; whoever typed where prompts are not read is told."""
        notes = typed_notes(context, self.config)
        lines = answers.status([(target, how_to_mark(names)) for target, names in notes])
        return [answers.with_results(lines) for _ in tasks]

    def _preannotate(
        self, tasks: Sequence[Task], cancelled: Cancelled, values_of: ValuesOf
    ) -> list[Prediction]:
        self._check_drawable()
        # Read once: a prompt learned meanwhile must not be claimed to have been asked.
        queries = self._standing()
        answers = self._builder(PredictionBuilder, queries, values_of, typed=False)
        if not queries:
            reason = why_nothing(self.config, self.service.settings)
            logger.info("project %s: %s", self.project_id, reason)
            return [answers.without_result(reason) for _ in tasks]
        try:
            predictor = Predictor(self.service, self.choice, self.project_id, answers, cancelled)
            return predictor.predict(tasks, queries)
        except PromptError as error:  # of a remembered prompt, or of a label used as one
            logger.warning("project %s: %s", self.project_id, error)
            tracing.note_error(error, is_fault=False)
            return [answers.without_result(str(error)) for _ in tasks]

    def _builder(
        self,
        kind: type[PredictionBuilder],
        standing: Sequence[Query],
        values_of: ValuesOf = region_values,
        *,
        typed: bool,
    ) -> PredictionBuilder:
        settings, version = self.service.settings, self._version(standing)
        return kind(self.config, settings.output, version, typed, settings.provenance, values_of)

    def _interactive(
        self, answers: PredictionBuilder, queries: Sequence[AnyQuery], cancelled: Cancelled
    ) -> Predictor:
        priority = min(map(_priority_of, queries), default=Priority.TYPED_PROMPT)
        return Predictor(self.service, self.choice, self.project_id, answers, cancelled, priority)

    def _standing(self) -> list[Query]:
        def remembered(target: ImageTarget) -> str | None:
            return self.service.prompts.newest(self._memory_key(target))

        return default_queries(self.config, self.service.settings, self._models, remembered)

    def _remember(self, target: ImageTarget, text: str | None) -> None:
        if text is None or len(text) > MAX_CHARACTERS:
            return
        try:
            phrases = read_prompt(text, target).phrases
        except PromptError:  # the annotator was told, and drew something by hand
            return
        if 0 < len(phrases) <= MAX_PHRASES:
            self.service.prompts.save_later(self._memory_key(target), text)

    def _memory_key(self, target: ImageTarget) -> str:
        return prompt_key(self.project_id, target.name)


def _priority_of(query: AnyQuery) -> Priority:
    if isinstance(query, Query):
        return Priority.TYPED_PROMPT
    return Priority.FURTHER_CLICK if len(query.drawing.shapes) > 1 else Priority.CLICK
