"""Shows what a detector sees in one image before any threshold, and segments what is marked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from grounded_labeler import metrics, tracing
from grounded_labeler.core.inference import InferenceRequest, InferenceResult, Request
from grounded_labeler.core.inference import SegmentRequest as SegmentJob
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.postprocess import own_thresholds
from grounded_labeler.core.prompt import MAX_CHARACTERS, Prompt
from grounded_labeler.core.tiling import parse_tiling
from grounded_labeler.core.time_limit import TimeLimit
from grounded_labeler.core.types import Candidates, DecodedImage, Label, Thresholds
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.errors import BadRequest, ImageError, OutOfMemory, PromptError
from grounded_labeler.inference.backend import (
    Cancelled,
    InferenceBackend,
    Priority,
    never_cancelled,
)
from grounded_labeler.inference.deadline import RequestDeadline
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.config_settings import choose_models
from grounded_labeler.label_studio.inference_results import note_stages
from grounded_labeler.label_studio.schema import LabelConfig, Overrides
from grounded_labeler.label_studio.thresholds import choose_thresholds
from grounded_labeler.labeler import parse_query
from grounded_labeler.service import Service
from grounded_labeler.weights.choice import ModelChoice

# No box threshold that anybody sets is lower, and below it lie most of a detector's candidates.
LOWEST_SCORE = 0.05
# As many as are compared with each other when detections are selected.
MOST_CANDIDATES = 4000

LoadImage = Callable[[], DecodedImage]
Mark = Callable[[DecodedImage], VisualPrompts]

_NO_SEGMENTER = "Masks need a segmenter, and none is chosen. The service offers: {}."


@dataclass(frozen=True)
class InspectionQuery:
    """What is looked for in an image, and by which models.

    Attributes:
        prompt: what is looked for; None for the labels.
        labels: what objects may be called; None takes the labels that the prompt names itself.
        label_config: a label config, whose labels, thresholds and models count instead.
        detector: the name of a detector that is offered; None for the default.
        segmenter: the name of a segmenter that is offered; None for the default.
        is_background: whether annotators go first.
        tiles: as the setting TILES; None for what the label config or the service says.
    """

    prompt: str | None
    labels: tuple[str, ...] | None = None
    label_config: str | None = None
    detector: str | None = None
    segmenter: str | None = None
    is_background: bool = False
    tiles: str | None = None


@dataclass(frozen=True, eq=False)
class Inspection:
    """All that a detector saw in one image of `size_wh`, width and height in pixels.

    Attributes:
        size_wh: width and height of the displayed image in pixels.
        prompt: the phrases that were looked for.
        phrase_labels: the label that each phrase means, None where it means none.
        score_thresholds: the box threshold that each phrase has of its own, None where it has
            none: it was typed for it in the prompt, or is that of its label.
        thresholds: those that hold where nobody sets others.
        candidates: those of which some phrase scores at least LOWEST_SCORE, the strongest
            MOST_CANDIDATES of them.
    """

    size_wh: tuple[int, int]
    prompt: Prompt
    phrase_labels: tuple[str | None, ...]
    score_thresholds: tuple[float | None, ...]
    thresholds: Thresholds
    candidates: Candidates


@dataclass(frozen=True, eq=False)
class MaskOfObject:
    """A mask and the segmenter's guess at its IoU, in [0, 1]; no mask where it found no pixel."""

    mask: Mask | None
    score: float


@dataclass(frozen=True)
class OfferedDetector:
    """A detector by its name, and the thresholds that hold for it where nobody sets others."""

    name: str
    box_threshold: float
    text_threshold: float


@dataclass(frozen=True)
class Offer:
    """The models to choose from, the default ones first."""

    detectors: tuple[OfferedDetector, ...]
    segmenters: tuple[str, ...]


class Inspector:
    """Runs the models of a service for those who want to see all candidates; threads share it.

    Requests take a slot and wait in the queue as predictions do.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def offer(self) -> Offer:
        """Return the models to choose from; raises as `Service.summary` does."""
        settings = self._service.settings
        offered, default = settings.offered, settings.choice
        detectors = []
        for name in _first(default.detector, offered.detectors):
            summary = self._service.summary(offered.choose(name, None))
            limits = choose_thresholds(settings, summary).thresholds
            detectors.append(OfferedDetector(name, limits.box, limits.text))
        return Offer(tuple(detectors), _first(default.segmenter, offered.segmenters))

    def detect(
        self,
        load: LoadImage,
        query: InspectionQuery,
        cancelled: Cancelled = never_cancelled,
    ) -> Inspection:
        """Return all candidates of the image that `load` returns, once there is a slot for it.

        Raises what `load` raises, PromptError and BadRequest for a query that cannot be answered,
        ImageError for an image that needs too much memory, and NotReady as predictions do.
        """
        config = None if query.label_config is None else read_label_config(query.label_config)
        prompt, labels = _phrases(query, config)
        choice = self._choice(query.detector, query.segmenter, config)
        attributes = Overrides() if config is None else config.images[0].overrides
        chosen = choose_thresholds(
            self._service.settings, self._service.summary(choice), attributes=attributes
        )
        # Nothing is selected here: all that would be is found again among the candidates.
        nothing = replace(chosen.thresholds, box=1.0, text=1.0, overrides_labels=True)
        of_config = None if config is None else config.images[0].tiles
        tiling = parse_tiling(query.tiles or of_config or self._service.settings.tiles)
        priority = Priority.PREANNOTATION if query.is_background else Priority.TYPED_PROMPT
        with self._at(choice, priority, cancelled) as models:
            request = InferenceRequest(
                load(),
                prompt.without_thresholds(),
                labels,
                nothing,
                with_masks=False,
                candidates_from=LOWEST_SCORE,
                tiling=tiling,
                tile_limit=models.tile_limit(self._service.settings.model_deadline),
            )
            result = models.run(request)
        if result.candidates is None:
            raise ValueError("the models returned no candidates")
        return Inspection(
            result.size_hw[::-1],
            prompt,
            request.phrase_labels,
            own_thresholds(prompt, request.phrase_labels, labels),
            chosen.thresholds,
            _strongest(result.candidates),
        )

    def segment(
        self,
        load: LoadImage,
        mark: Mark,
        detector: str | None = None,
        segmenter: str | None = None,
        cancelled: Cancelled = never_cancelled,
    ) -> list[MaskOfObject]:
        """Return a mask for each object that `mark` marks in the image, in their order.

        Raises as `detect` does, and what `mark` raises.
        """
        choice = self._choice(detector, segmenter, None)
        if not choice.has_segmenter:
            others = ", ".join(self._service.settings.offered.segmenters[:-1])
            raise PromptError(_NO_SEGMENTER.format(others or "none"))
        with self._at(choice, Priority.CLICK, cancelled) as models:
            image = load()
            prompts = mark(image)
            if not len(prompts):
                return []
            together = models.run(SegmentJob(image, prompts))
            if len(together.detections) == len(prompts):
                return _masks(together)
            # Of an object without a mask there is no result, and which one that is is not said.
            each: list[MaskOfObject] = []
            for number in range(len(prompts)):
                alone = models.run(SegmentJob(image, prompts[number : number + 1]))
                each += _masks(alone) or [MaskOfObject(None, 0.0)]
            return each

    def _choice(
        self, detector: str | None, segmenter: str | None, config: LabelConfig | None
    ) -> ModelChoice:
        offered = self._service.settings.offered
        of_config = None if config is None else choose_models(config.models, offered)
        for what, name, known in (
            ("detector", detector, offered.detectors),
            ("segmenter", segmenter, offered.segmenters),
        ):
            if name is not None and name not in known:
                raise BadRequest(
                    f"This service does not offer that {what}: it must be {' or '.join(known)}."
                )
        if of_config is not None:
            detector, segmenter = detector or of_config.detector, segmenter or of_config.segmenter
        return offered.choose(detector, segmenter)

    @contextmanager
    def _at(
        self, choice: ModelChoice, priority: Priority, cancelled: Cancelled
    ) -> Iterator["_Models"]:
        """Hold a slot, and the models once they are loaded."""
        backend = self._service.backend.of(choice)
        seconds = self._service.settings.request_deadline
        deadline = RequestDeadline(seconds, typed=True, clock=self._service.clock)
        with self._service.slot(priority), backend.hold():
            backend.wait_until_ready()
            yield _Models(backend, priority, deadline, cancelled)


@dataclass(frozen=True)
class _Models:
    """The models of one request."""

    backend: InferenceBackend
    priority: Priority
    deadline: RequestDeadline
    cancelled: Cancelled

    def tile_limit(self, model_deadline: float) -> TimeLimit:
        """How long tiles may take."""
        return self.deadline.tile_limit(model_deadline, self.cancelled)

    def run(self, request: Request) -> InferenceResult:
        seconds = self.deadline.queue_timeout()
        try:
            with (
                metrics.QUEUE.labels(self.priority.kind).track_inprogress(),
                tracing.span("models", images=1),
            ):
                [result] = self.backend.run([request], self.cancelled, seconds, self.priority)
                note_stages(request, result)
        except OutOfMemory as error:
            raise ImageError("This image needs more memory than there is.") from error
        return result


def _phrases(
    query: InspectionQuery, config: LabelConfig | None
) -> tuple[Prompt, tuple[Label, ...]]:
    if query.prompt is not None and len(query.prompt) > MAX_CHARACTERS:
        raise PromptError(f"The prompt has more than {MAX_CHARACTERS:,} characters: shorten it.")
    if config is not None:
        return parse_query(query.prompt, config.images[0].labels)
    return parse_query(query.prompt, query.labels)


def _strongest(candidates: Candidates) -> Candidates:
    """The best-scoring MOST_CANDIDATES, in the order that they were in."""
    if len(candidates) <= MOST_CANDIDATES:
        return candidates
    order = np.argsort(-candidates.peaks.max(axis=1), kind="stable")
    return candidates.subset(np.sort(order[:MOST_CANDIDATES]))


def _masks(result: InferenceResult) -> list[MaskOfObject]:
    scores = result.detections.scores.tolist()
    return [
        MaskOfObject(mask, score) for mask, score in zip(result.masks or (), scores, strict=True)
    ]


def _first(default: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((default, *names)))
