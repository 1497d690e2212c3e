"""Detect, then segment: from images and prompts to labelled boxes and masks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grounded_labeler.detectors import Detector
from grounded_labeler.prompt import Prompt, parse_prompt
from grounded_labeler.segmenters import Segmenter
from grounded_labeler.selection import best_score, select
from grounded_labeler.structures import Detections, Masks, RGBImage
from grounded_labeler.targets import Label


@dataclass(frozen=True)
class Thresholds:
    """What is kept of a detector's candidates; the fractions are in [0, 1]."""

    box: float
    text: float
    nms: float
    max_regions: int


@dataclass(frozen=True, eq=False)
class Job:
    """One image and what is asked of it."""

    image: RGBImage
    prompt: Prompt
    labels: tuple[Label, ...]
    thresholds: Thresholds
    with_masks: bool


@dataclass(frozen=True, eq=False)
class Found:
    """The answer to one job, about an image of `size_hw`, height and width.

    `masks` is bool (N, H, W), None when none were asked for. `best_score` is the
    highest score of any candidate, kept or not. Seconds of detection are the
    batch's, shared evenly by its jobs.
    """

    detections: Detections
    masks: Masks | None
    size_hw: tuple[int, int]
    best_score: float
    detect_seconds: float
    segment_seconds: float


class Pipeline:
    """One detector and, if there is one, a segmenter."""

    def __init__(self, detector: Detector, segmenter: Segmenter | None) -> None:
        self.detector = detector
        self.segmenter = segmenter

    @property
    def device(self) -> str:
        return self.detector.device

    @property
    def batch_size(self) -> int:
        """How many jobs make one run of the detector; more at once only take memory."""
        return self.detector.batch_size

    def run(self, jobs: Sequence[Job]) -> list[Found]:
        """Answer every job, in order."""
        start = time.monotonic()
        candidates = self.detector.detect(
            [job.image for job in jobs],
            [[phrase.text for phrase in job.prompt.phrases] for job in jobs],
        )
        share = (time.monotonic() - start) / max(len(jobs), 1)
        found = []
        for job, seen in zip(jobs, candidates, strict=True):
            height, width = job.image.shape[:2]
            detections = select(
                seen,
                job.prompt,
                job.labels,
                box_threshold=job.thresholds.box,
                text_threshold=job.thresholds.text,
                nms_threshold=job.thresholds.nms,
                max_regions=job.thresholds.max_regions,
                size_wh=(width, height),
            )
            start = time.monotonic()
            masks = self._segment(job, detections)
            seconds = time.monotonic() - start
            best = best_score(seen, job.prompt)
            found.append(Found(detections, masks, (height, width), best, share, seconds))
        return found

    def warm_up(self) -> None:
        """Run each model once: the first run allocates and compiles, and is slow."""
        image = np.full((480, 640, 3), 127, np.uint8)
        limits = Thresholds(box=1.0, text=1.0, nms=1.0, max_regions=1)
        self.run([Job(image, parse_prompt("warm up", ()), (), limits, with_masks=False)])
        if self.segmenter is not None:
            self.segmenter.segment(image, np.array([[160, 120, 480, 360]], np.float32))

    def _segment(self, job: Job, detections: Detections) -> Masks | None:
        if not job.with_masks or self.segmenter is None:
            return None
        return self.segmenter.segment(job.image, detections.boxes)
