"""The Label Studio model: tasks and perhaps a typed prompt in, predictions out."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

from label_studio_ml.model import LabelStudioMLBase

from grounded_labeler import metrics
from grounded_labeler.answers import Answers, Prediction
from grounded_labeler.errors import BadRequest, NotReady, PromptError
from grounded_labeler.executor import IsGone, always_there
from grounded_labeler.label_config import read_label_config
from grounded_labeler.looks import Task
from grounded_labeler.memory import memory_key
from grounded_labeler.predictions import Predictor
from grounded_labeler.prompt import MAX_CHARACTERS, MAX_PHRASES, newest_prompt, parse_prompt
from grounded_labeler.questions import (
    Question,
    standing_questions,
    typed_questions,
    why_nothing,
)
from grounded_labeler.results import drawable_geometries
from grounded_labeler.service import Service
from grounded_labeler.targets import ImageTarget, LabelConfig
from grounded_labeler.versions import version_of

logger = logging.getLogger(__name__)


class GroundedLabeler(LabelStudioMLBase):  # type: ignore[misc]  # label-studio-ml is untyped
    """Grounding DINO and SAM behind Label Studio's interface, one instance per request.

    Works on the base class of label-studio-ml 1.x, which knows no projects, and on
    that of 2.x, whose constructor takes a project id and a label config.
    """

    service: ClassVar[Service]

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        """Raises BadRequest when nothing can be drawn with `label_config`."""
        self.config = self._drawable(read_label_config(label_config))
        self.project_id = project_id or ""
        if "project_id" in inspect.signature(LabelStudioMLBase.__init__).parameters:
            super().__init__(project_id=self.project_id, label_config=label_config)
        else:
            super().__init__()

    @classmethod
    def bound_to(cls, service: Service) -> type[Self]:
        """A subclass that uses `service`, for servers that make their models themselves."""
        return type(cls.__name__, (cls,), {"service": service})

    def _drawable(self, config: LabelConfig) -> LabelConfig:
        """`config` without the images that nothing can be drawn on; BadRequest if none is left."""
        images, reasons = [], []
        for target in config.images:
            try:
                drawable_geometries(
                    target, self.service.settings.output, self.service.has_segmenter
                )
                images.append(target)
            except BadRequest as reason:
                reasons.append(reason)
        if not images:
            raise reasons[0]
        return replace(config, images=tuple(images))

    def setup(self) -> None:
        """Called by label-studio-ml 2.x, which keeps the version in a store of its own."""
        self.set("model_version", self.model_version)

    @property
    def model_version(self) -> str:
        """The models and a digest of all that shapes the answer to a request without a prompt.

        Label Studio asks again for a task when this changes, and never while it stays.
        """
        return self._version(self._standing())

    def _version(self, standing: Sequence[Question]) -> str:
        return version_of(self.service.settings, standing)

    def predict(
        self,
        tasks: Sequence[Task],
        context: Mapping[str, Any] | None = None,
        *,
        is_gone: IsGone = always_there,
        **_other: Any,  # noqa: ANN401 - what else label-studio-ml passes on
    ) -> list[Prediction]:
        """One prediction per task, in order; one without `result` is asked for again later.

        `context` is None when Label Studio pre-annotates, and holds what the annotator
        typed when they ask; the answer to them always has a `result`. Raises CallerGone
        once nobody waits any more, which `is_gone` tells.
        """
        if context is None:
            return self._preannotate(tasks, is_gone)
        predictor = self._predictor(self._standing(), is_gone, typed=True)
        try:
            questions = typed_questions(context, self.config, self.service.settings)
            predictions = predictor.predict(tasks, questions)
        except (PromptError, NotReady) as error:
            logger.warning("project %s: %s", self.project_id, error)
            if isinstance(error, NotReady) and not self.config.with_status:
                raise  # nobody would read it in the editor
            metrics.FAILURES.labels(type(error).__name__).inc()
            lines = predictor.answers.status(
                [(target, str(error)) for target in self.config.with_status]
            )
            return [predictor.answers.with_results(lines) for _ in tasks]
        for question in questions:
            self._remember(question.target, question.text)
        return predictions

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
        """Remember the prompt of an annotation that was saved."""
        for target in self.config.images:
            self._remember(target, newest_prompt(annotation.get("result"), target))

    def _preannotate(self, tasks: Sequence[Task], is_gone: IsGone) -> list[Prediction]:
        # Read once: a prompt learned meanwhile must not be claimed to have been asked.
        questions = self._standing()
        predictor = self._predictor(questions, is_gone, typed=False)
        if not questions:
            reason = why_nothing(self.service.settings)
            logger.info("project %s: %s", self.project_id, reason)
            return [predictor.answers.without_result(reason) for _ in tasks]
        try:
            return predictor.predict(tasks, questions)
        except PromptError as error:  # of a remembered prompt, or of a label used as one
            logger.warning("project %s: %s", self.project_id, error)
            return [predictor.answers.without_result(str(error)) for _ in tasks]

    def _predictor(
        self, standing: Sequence[Question], is_gone: IsGone, *, typed: bool
    ) -> Predictor:
        version = self._version(standing)
        answers = Answers(self.config, self.service.settings.output, version, typed)
        return Predictor(self.service, self.project_id, answers, is_gone)

    def _standing(self) -> list[Question]:
        def remembered(target: ImageTarget) -> str | None:
            return self.service.memory.newest(self._memory_key(target))

        return standing_questions(self.config, self.service.settings, remembered)

    def _remember(self, target: ImageTarget, text: str | None) -> None:
        if text is None or len(text) > MAX_CHARACTERS:
            return
        if 0 < len(parse_prompt(text, ()).phrases) <= MAX_PHRASES:
            self.service.memory.remember(self._memory_key(target), text)

    def _memory_key(self, target: ImageTarget) -> str:
        return memory_key(self.project_id, target.name)
