"""What the models are given and what they return: one request, one result."""

from collections.abc import Sequence
from dataclasses import dataclass

from grounded_labeler.core.prompt import Prompt
from grounded_labeler.core.types import Detections, Label, Mask, Picture, Thresholds


@dataclass(frozen=True, eq=False)
class InferenceRequest:
    """One picture and what is asked of it.

    At `lower_threshold`, a box threshold, boxes are only counted.
    """

    picture: Picture
    prompt: Prompt
    labels: tuple[Label, ...]
    thresholds: Thresholds
    with_masks: bool
    lower_threshold: float | None = None


@dataclass(frozen=True, eq=False)
class InferenceResult:
    """The answer to one job, about an image of `size_hw`, height and width.

    `masks` holds one per detection, None when none were asked for. `best_scores` has for
    each phrase the highest score of any candidate, kept or not; `more` is how many more
    detections the job's lower threshold would give. Seconds of detection are the batch's,
    shared evenly by its jobs.
    """

    detections: Detections
    masks: Sequence[Mask] | None
    size_hw: tuple[int, int]
    best_scores: tuple[float, ...]
    detect_seconds: float
    segment_seconds: float
    more: int = 0
