"""What the models are given and what they return: one request, one result or failure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.label_matching import labels_of
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.postprocess import thresholds_of_phrases
from grounded_labeler.core.prompt import Prompt
from grounded_labeler.core.tiling import Rectangle, Tiling
from grounded_labeler.core.time_limit import NO_LIMIT, TimeLimit
from grounded_labeler.core.types import (
    Candidates,
    DecodedImage,
    Detections,
    Label,
    Thresholds,
    TileCount,
)
from grounded_labeler.core.visual_prompts import VisualPrompts

# So much below the box threshold, a detection is a near miss.
_NEAR_MISS = 0.1


def near_miss_threshold(box_threshold: float) -> float | None:
    """Return the lowest score of a near miss of `box_threshold`; None where none can be."""
    return max(0.0, round(box_threshold - _NEAR_MISS, 4)) if box_threshold > 0 else None


@dataclass(frozen=True, eq=False)
class InferenceRequest:
    """One image and the prompt to run on it.

    `with_near_misses` asks for what scores a little less than its box threshold, without masks;
    `candidates_from` for all candidates of which some phrase scores at least this;
    `with_embedding` for the image's embedding, by which near-duplicates are known.
    `tiling` has the detector look at tiles, too, as long as `tile_limit` allows; `inside` has it
    look at nothing but this part of the image.
    """

    image: DecodedImage
    prompt: Prompt
    labels: tuple[Label, ...]
    thresholds: Thresholds
    with_masks: bool
    with_near_misses: bool = False
    candidates_from: float | None = None
    tiling: Tiling | None = None
    tile_limit: TimeLimit = NO_LIMIT
    inside: Rectangle | None = None
    with_embedding: bool = False

    @cached_property
    def phrase_labels(self) -> tuple[str | None, ...]:
        """The label that each phrase of the prompt means."""
        return labels_of(self.prompt.phrases, self.labels)

    @cached_property
    def box_thresholds(self) -> tuple[float, ...]:
        """The minimum score of each phrase of the prompt."""
        return thresholds_of_phrases(self.prompt, self.phrase_labels, self.labels, self.thresholds)


@dataclass(frozen=True, eq=False)
class SegmentRequest:
    """One image and what somebody drew on it: a mask is wanted of each object.

    `label` is the label of what was drawn, None where it has none.
    """

    image: DecodedImage
    prompts: VisualPrompts
    label: str | None = None


Request = InferenceRequest | SegmentRequest


@dataclass(frozen=True, eq=False)
class InferenceResult:
    """The result of one request, about an image of `size_hw`, height and width.

    Of a SegmentRequest there are the objects whose mask has a pixel, each with the tight box
    around its mask and the model's guess at the mask's IoU as its score; `best_scores` is empty.

    `masks` holds one per detection, None when the request wanted none. `best_scores` has for
    each phrase the highest score of any candidate, kept or not. `near_misses` are the
    detections that score below their box threshold and that a lower one would add. Seconds
    of detection are the batch's, shared evenly by its jobs. `presence` has for each phrase how
    likely it is in the image at all, in [0, 1]; None where the detector does not say.
    `candidates` are those that the request wanted, None where it wanted none; so is `embedding`,
    a unit vector, float32 (D,), that only those of the same detector compare with. `tiles` are
    those that the detector looked at, None where there are none. `detect_start_ns` and
    `segment_start_ns` are when these began, in nanoseconds since 1970; `batch_size` is of how
    many requests the detection was, all of which took as long as it did.
    """

    detections: Detections
    masks: Sequence[Mask] | None
    size_hw: tuple[int, int]
    best_scores: tuple[float, ...]
    detect_seconds: float
    segment_seconds: float
    near_misses: Detections = field(default_factory=Detections.empty)
    presence: tuple[float, ...] | None = None
    candidates: Candidates | None = None
    tiles: TileCount | None = None
    embedding: NDArray[np.float32] | None = None
    detect_start_ns: int = 0
    segment_start_ns: int = 0
    batch_size: int = 1


class FailureCause(StrEnum):
    """Why there is no result for an image; the label of the metric that counts failures."""

    MISSING = "missing"  # the task has no such image, now or later
    FETCH = "fetch"
    DECODE = "decode"
    PROMPT = "prompt"
    MEMORY = "memory"
    MODEL = "model"


@dataclass(frozen=True)
class Failure:
    """There is no result for an image; `reason` is one sentence for people."""

    reason: str
    cause: FailureCause


Outcome = InferenceResult | Failure


def task_failure(outcomes: Sequence[Outcome]) -> Failure | None:
    """Return why a task with these images has no result yet; None where it has one.

    An image that failed may be had later. One that the task does not have never will be:
    then the others are all there is.
    """
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    for failure in failures:
        if failure.cause is not FailureCause.MISSING:
            return failure
    return failures[0] if failures and len(failures) == len(outcomes) else None
