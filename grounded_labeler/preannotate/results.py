"""The results of a run, by task: what the models found in its images, or why there is nothing."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator, TypeAdapter

from grounded_labeler import metrics
from grounded_labeler.coco import CocoRle, coco_mask, coco_rle
from grounded_labeler.core.inference import Failure, InferenceResult, Outcome, task_failure
from grounded_labeler.core.time_limit import TimeLimit
from grounded_labeler.core.types import Boxes, Candidates, Detections, Scores, TileCount, Views
from grounded_labeler.images.source import file_sha256
from grounded_labeler.inference.deadline import TILES_SHARE
from grounded_labeler.label_studio.inference_results import RunRequests, results_of
from grounded_labeler.label_studio.prediction_builder import count_image
from grounded_labeler.label_studio.task_images import TaskImage
from grounded_labeler.settings import Settings

TaskId = int | str


def _boxes(value: list[list[float]]) -> Boxes:
    return np.array(value, np.float32).reshape(-1, 4)


def _scores(value: list[float]) -> Scores:
    return np.array(value, np.float32)


def _vector(value: str | None) -> NDArray[np.float32] | None:
    return None if value is None else np.frombuffer(b64decode(value), "<f4")


def _vector_text(vector: NDArray[np.float32] | None) -> str | None:
    return None if vector is None else b64encode(vector.astype("<f4").tobytes()).decode()


_AS_LIST = PlainSerializer(np.ndarray.tolist)


def _candidates(value: dict[str, Any] | None) -> Candidates | None:
    if value is None:
        return None
    count, phrases = value["count"], value["phrases"]
    boxes, peaks, means, captions = (
        np.frombuffer(b64decode(value[name]), dtype).reshape(shape)
        for name, dtype, shape in (
            ("boxes", "<f4", (count, 4)),
            ("peaks", "<f4", (count, phrases)),
            ("means", "<f4", (count, phrases)),
            ("captions", "<i8", (count,)),
        )
    )
    presence = value["presence"]
    return Candidates(
        boxes,
        peaks,
        means,
        captions,
        is_coarse=value["is_coarse"],
        presence=None if presence is None else _scores(presence),
        scores_tokens=value["scores_tokens"],
        views=_views(value.get("views"), count),
    )


def _views(value: dict[str, Any] | None, count: int) -> Views | None:
    if value is None:
        return None
    frames = np.frombuffer(b64decode(value["frames"]), "<f4").reshape(count, 4)
    is_cut = np.frombuffer(b64decode(value["is_cut"]), np.bool_).reshape(count)
    return Views(frames, is_cut, TileCount(*value["tiles"]))


def _to_text(candidates: Candidates | None) -> dict[str, Any] | None:
    """As bytes in text: as decimal numbers, they would take five times the room."""
    if candidates is None:
        return None
    count, phrases = candidates.peaks.shape
    one = candidates
    arrays = {"boxes": one.boxes, "peaks": one.peaks, "means": one.means}
    texts = {name: b64encode(array.astype("<f4").tobytes()) for name, array in arrays.items()}
    texts["captions"] = b64encode(one.captions.astype("<i8").tobytes())
    return {name: text.decode() for name, text in texts.items()} | {
        "count": count,
        "phrases": phrases,
        "is_coarse": one.is_coarse,
        "presence": None if one.presence is None else one.presence.tolist(),
        "scores_tokens": one.scores_tokens,
        "views": None if one.views is None else _views_to_text(one.views),
    }


def _views_to_text(views: Views) -> dict[str, Any]:
    return {
        "frames": b64encode(views.frames.astype("<f4").tobytes()).decode(),
        "is_cut": b64encode(views.is_cut.tobytes()).decode(),
        "tiles": [views.tiles.done, views.tiles.wanted],
    }


@dataclass(frozen=True, eq=False)
class ImageResult:
    """What the models found in one image, with masks that take little memory.

    Attributes:
        boxes: float32 (N, 4), xyxy in pixels of the displayed image, half-open.
        scores: float32 (N,), in [0, 1], best first.
        phrases: the phrase of the prompt that found each object.
        labels: the label that each object's phrase means, None where no label fits.
        masks: a mask of `size_hw` for each object; None without masks.
        size_hw: height and width of the displayed image in pixels.
        sha256: the digest of the image file, in hexadecimal digits.
        best_scores: for each phrase of the prompt, the highest score of any candidate, in [0, 1].
        seconds: how long the models took.
        presence: for each phrase, how likely it is in the image at all, in [0, 1]; None where
            the detector does not say.
        candidates: all candidates of the detector that the run asked for; None without.
        tiles: those that the detector looked at; None where there are none.
        embedding: what near-duplicates are known by, float32 (D,), where the run asked for it.
        is_nearly_black: whether it has more than 8 bits a channel and should have been stretched.
    """

    boxes: Annotated[Boxes, PlainValidator(_boxes), _AS_LIST]
    scores: Annotated[Scores, PlainValidator(_scores), _AS_LIST]
    phrases: tuple[str, ...]
    labels: tuple[str | None, ...]
    masks: tuple[CocoRle, ...] | None
    size_hw: tuple[int, int]
    sha256: str
    best_scores: tuple[float, ...]
    seconds: float
    presence: tuple[float, ...] | None = None
    candidates: Annotated[
        Candidates | None, PlainValidator(_candidates), PlainSerializer(_to_text)
    ] = None
    tiles: TileCount | None = None
    is_nearly_black: bool = False
    embedding: Annotated[
        NDArray[np.float32] | None, PlainValidator(_vector), PlainSerializer(_vector_text)
    ] = None

    @property
    def names(self) -> list[str]:
        """Each object's label, or else its phrase."""
        return [label or phrase for label, phrase in zip(self.labels, self.phrases, strict=True)]

    def unpacked(self) -> InferenceResult:
        """The result as the models returned it."""
        found = Detections(self.boxes, self.scores, self.phrases, self.labels)
        masks = None if self.masks is None else [coco_mask(mask) for mask in self.masks]
        return InferenceResult(
            found,
            masks,
            self.size_hw,
            self.best_scores,
            self.seconds,
            0.0,
            presence=self.presence,
            candidates=self.candidates,
            tiles=self.tiles,
        )


@dataclass(frozen=True, eq=False)
class TaskResult:
    """The results of one task's images, by the name of the Image tag.

    An image that the task does not have is a Failure; at least one is a result.
    """

    images: Mapping[str, ImageResult | Failure]

    @property
    def found(self) -> list[ImageResult]:
        """The results of the images that the task has."""
        return [image for image in self.images.values() if isinstance(image, ImageResult)]


TaskOutcome = TaskResult | Failure
TaskOutcomes = Mapping[TaskId, TaskOutcome]

_OUTCOME: TypeAdapter[TaskOutcome] = TypeAdapter(TaskOutcome)


def infer(
    tasks: Sequence[Sequence[TaskImage]], run: RunRequests, settings: Settings
) -> list[list[Outcome]]:
    """Return what `run` returns for each image of each task, as `results_of` does."""
    every = [image for images in tasks for image in images]
    has_segmenter = settings.choice.has_segmenter
    # Not from now on: the images may have to wait for the models to be free.
    limit = TimeLimit(TILES_SHARE * settings.model_deadline, from_first_use=True)
    outcomes = iter(results_of(every, run, settings.output, has_segmenter, limit))
    return [[next(outcomes) for _ in images] for images in tasks]


def task_outcome(images: Sequence[TaskImage], outcomes: Sequence[Outcome]) -> TaskOutcome:
    """Make the outcome of one task of those of its images; they are counted and logged."""
    failure = task_failure(outcomes)
    metrics.TASKS.labels("answered" if failure is None else "failed").inc()
    if failure is not None:
        return failure
    pairs = zip(images, outcomes, strict=True)
    return TaskResult({image.query.target.name: _packed(image, one) for image, one in pairs})


def to_json(outcome: TaskOutcome) -> str:
    """Write an outcome as JSON, without loss."""
    return _OUTCOME.dump_json(outcome).decode()


def from_json(text: str) -> TaskOutcome:
    """Read what `to_json` wrote."""
    return _OUTCOME.validate_json(text)


def _packed(image: TaskImage, outcome: Outcome) -> ImageResult | Failure:
    if isinstance(outcome, Failure):
        return outcome
    with metrics.timed("encode") as encoding:
        masks = None if outcome.masks is None else tuple(map(coco_rle, outcome.masks))
    count_image(image, outcome, encoding.seconds)
    found = outcome.detections
    return ImageResult(
        boxes=found.boxes,
        scores=found.scores,
        phrases=found.phrases,
        labels=found.labels,
        masks=masks,
        size_hw=outcome.size_hw,
        sha256="" if image.image is None else file_sha256(image.image.key),
        best_scores=outcome.best_scores,
        seconds=outcome.detect_seconds + outcome.segment_seconds,
        presence=outcome.presence,
        candidates=outcome.candidates,
        tiles=outcome.tiles,
        is_nearly_black=image.is_nearly_black,
        embedding=outcome.embedding,
    )
