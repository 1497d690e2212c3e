"""Detect, then segment: from images and prompts to labelled boxes and masks."""

import time
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.cache import ByteCache, Cache
from grounded_labeler.core.components import tight_box, touched_parts
from grounded_labeler.core.inference import (
    InferenceRequest,
    InferenceResult,
    Request,
    SegmentRequest,
    near_miss_threshold,
)
from grounded_labeler.core.masks import Mask, PackedMask
from grounded_labeler.core.postprocess import best_scores, select
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.tiling import Tiling
from grounded_labeler.core.time_limit import TimeLimit
from grounded_labeler.core.types import Boxes, Candidates, DecodedImage, Detections, Thresholds
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.models.detectors import Detector
from grounded_labeler.models.observer import NO_OBSERVER, Observer, Stage
from grounded_labeler.models.runtime.device import Runtime, trim_memory
from grounded_labeler.models.runtime.graph import Releasable
from grounded_labeler.models.segmenters import Segmenter
from grounded_labeler.models.tiling import CachingDetector, TiledDetector, look_inside

# Graphs of a CPU take what is new of a size when it comes, so a strip is enough: a tenth of the
# work of an image. A GPU allocates for the usual size.
_WARM_UP_HW = {"cpu": (40, 640), "cuda": (480, 640)}
_WARM_UP_BOX = np.array([[160, 10, 480, 30]], np.float32)


class Pipeline:
    """One detector and, if there is one, a segmenter."""

    def __init__(
        self,
        detector: Detector,
        segmenter: Segmenter | None,
        cache: Cache | None = None,
        runtime: Runtime | None = None,
        observer: Observer = NO_OBSERVER,
        *,
        mask_cache: Cache | None = None,
    ) -> None:
        """Store the candidates of images, before any threshold, and their masks.

        Candidates, which the detector makes, go into `cache`, masks into `mask_cache`, which is
        `cache` if None: those of one segmenter serve beside every detector. `runtime` is the
        runtime of the models, if known; `observer` sees thresholds and labels applied, and the
        models' stages where the models have the same observer.
        """
        self.runtime, self._observer = runtime, observer
        self.detector = detector
        self.segmenter = segmenter
        self._cache: Cache = ByteCache(0) if cache is None else cache
        self._mask_cache = self._cache if mask_cache is None else mask_cache
        self._kept = CachingDetector(detector, self._cache)

    @property
    def device(self) -> str:
        return self.detector.device

    @property
    def batch_size(self) -> int:
        """The number of requests in one run of the detector; more at once only take memory."""
        return self.detector.batch_size

    def run(self, requests: Sequence[Request]) -> list[InferenceResult]:
        """Return the result of every request, in order.

        Raises ValueError for a SegmentRequest when there is no segmenter.
        """
        jobs = [request for request in requests if isinstance(request, InferenceRequest)]
        found = iter(self._run_prompts(jobs))
        return [
            self._segment_drawn(request) if isinstance(request, SegmentRequest) else next(found)
            for request in requests
        ]

    def _run_prompts(self, jobs: Sequence[InferenceRequest]) -> list[InferenceResult]:
        start_ns, start = time.time_ns(), time.monotonic()
        candidates = self._detect(jobs)
        embeddings = self._embed(jobs)
        share = (time.monotonic() - start) / max(len(jobs), 1)
        found = []
        for job, seen, embedding in zip(jobs, candidates, embeddings, strict=True):
            height, width = job.image.pixels.shape[:2]
            with self._observer.stage(Stage.SELECT):
                detections = _select(seen, job, job.box_thresholds)
                near_misses = _near_misses(seen, job)
            segment_start_ns, start = time.time_ns(), time.monotonic()
            masks = self._segment(job, detections.boxes)
            seconds = time.monotonic() - start
            best = best_scores(seen, job.prompt)
            presence = None if seen.presence is None else tuple(seen.presence.tolist())
            found.append(
                InferenceResult(
                    detections,
                    masks,
                    (height, width),
                    best,
                    share,
                    seconds,
                    near_misses,
                    presence,
                    _wanted(seen, job),
                    None if seen.views is None else seen.views.tiles,
                    embedding,
                    start_ns,
                    segment_start_ns,
                    len(jobs),
                )
            )
        return found

    def encode(self, images: Sequence[DecodedImage]) -> list[None]:
        """Compute what all prompts of an image share, if a segmenter runs, and cache it."""
        if self.segmenter is not None:
            for image in images:
                self.segmenter.encode(image)
        return [None for _ in images]

    def release(self) -> None:
        """Give back memory that is needed only while the models run; the next run is slower."""
        models: list[Releasable] = [self.detector]
        if self.segmenter is not None and self.segmenter not in models:  # SAM 3 may be both
            models.append(self.segmenter)
        for model in models:
            model.release()
        trim_memory()

    def warm_up(self, *, detector: bool = True, segmenter: bool = True) -> None:
        """Run each model once, or one of them: the first run allocates, compiles and is slow."""
        image = DecodedImage.of(np.full((*_WARM_UP_HW[self.device], 3), 127, np.uint8))
        if detector:
            limits = Thresholds(box=1.0, text=1.0, nms=1.0, max_regions=1)
            prompt = parse_prompt("warm up", ())
            self.run([InferenceRequest(image, prompt, (), limits, with_masks=False)])
        if segmenter and self.segmenter is not None:
            self.segmenter.segment(image, VisualPrompts.of_boxes(_WARM_UP_BOX))

    def _detect(self, jobs: Sequence[InferenceRequest]) -> list[Candidates]:
        """Return each request's candidates before any threshold, from the cache or computed now."""
        phrases = [tuple(phrase.text for phrase in job.prompt.phrases) for job in jobs]
        seen: dict[int, Candidates] = {}
        # Requests of one caller have one limit: when one caller has gone, the others' tiles go on.
        groups: dict[tuple[Tiling | None, TimeLimit | None], list[int]] = {}
        for i, job in enumerate(jobs):
            if job.inside is not None:
                seen[i] = look_inside(self._kept, job.image, job.inside, phrases[i])
            else:
                limit = None if job.tiling is None else job.tile_limit
                groups.setdefault((job.tiling, limit), []).append(i)
        for (tiling, limit), rows in groups.items():
            detector: Detector = self._kept
            if tiling is not None and limit is not None:
                detector = TiledDetector(detector, tiling, limit)
            answers = detector.detect([jobs[i].image for i in rows], [phrases[i] for i in rows])
            seen |= zip(rows, answers, strict=True)
        return [seen[i] for i in range(len(jobs))]

    def _embed(self, jobs: Sequence[InferenceRequest]) -> list[NDArray[np.float32] | None]:
        """Return the embedding of each image that one is wanted of, from features in the cache."""
        wanted = [job.image for job in jobs if job.with_embedding]
        embeddings = iter(self.detector.embed(wanted) if wanted else ())
        return [next(embeddings) if job.with_embedding else None for job in jobs]

    def _segment_drawn(self, request: SegmentRequest) -> InferenceResult:
        if self.segmenter is None:
            raise ValueError("there is no segmenter")
        start_ns, start = time.time_ns(), time.monotonic()
        image, prompts = request.image, request.prompts
        segments = self.segmenter.segment(image, prompts)
        masks = [segment.mask for segment in segments]
        if prompts.boxes is None:
            masks = [
                touched_parts(mask, points[are_positive])
                for mask, points, are_positive in zip(
                    masks, prompts.points, prompts.are_positive, strict=True
                )
            ]
        drawn = [i for i, mask in enumerate(masks) if mask.any()]
        boxes = [tight_box(masks[i]) for i in drawn]
        scores = [segments[i].score for i in drawn]
        detections = Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(scores, np.float32).clip(0, 1),
            (request.label or "",) * len(drawn),
            (request.label,) * len(drawn),
        )
        height, width = image.pixels.shape[:2]
        seconds = time.monotonic() - start
        return InferenceResult(
            detections,
            [masks[i] for i in drawn],
            (height, width),
            (),
            0.0,
            seconds,
            segment_start_ns=start_ns,
        )

    def _segment(self, job: InferenceRequest, boxes: Boxes) -> list[Mask] | None:
        """Return one mask per box; the segmenter runs only for boxes with no mask in the cache."""
        if not job.with_masks or self.segmenter is None:
            return None
        keys = [("mask", job.image.key, box.tobytes()) for box in boxes]
        kept: list[PackedMask | None] = [self._mask_cache.get(key) for key in keys]
        new = [i for i, known in enumerate(kept) if known is None]
        if new:
            prompts = VisualPrompts.of_boxes(boxes[new])
            segments = self.segmenter.segment(job.image, prompts)
            for i, segment in zip(new, segments, strict=True):
                packed = segment.mask.packed()
                self._mask_cache.put(keys[i], packed, packed.nbytes)
                kept[i] = packed
        return [packed.mask() for packed in cast(list[PackedMask], kept)]


def _select(
    candidates: Candidates, job: InferenceRequest, box_thresholds: Sequence[float]
) -> Detections:
    limits = job.thresholds
    height, width = job.image.pixels.shape[:2]
    return select(
        candidates,
        job.prompt,
        job.phrase_labels,
        box_thresholds=box_thresholds,
        text_threshold=limits.text,
        nms_threshold=limits.nms,
        max_regions=limits.max_regions,
        size_wh=(width, height),
    )


def _near_misses(candidates: Candidates, job: InferenceRequest) -> Detections:
    """Return what a little lower thresholds add: detections that score below their own."""
    if not job.with_near_misses:
        return Detections.empty()
    limits = job.box_thresholds
    lower_limits = [near_miss_threshold(limit) or 0.0 for limit in limits]
    if not np.any((candidates.peaks >= np.array(lower_limits)) & (candidates.peaks < limits)):
        return Detections.empty()
    lower = _select(candidates, job, lower_limits)
    texts = (phrase.text for phrase in job.prompt.phrases)
    limit_of = dict(zip(texts, limits, strict=True))
    own = np.array([limit_of[phrase] for phrase in lower.phrases])
    return lower.subset(np.flatnonzero(lower.scores < own))


def _wanted(candidates: Candidates, job: InferenceRequest) -> Candidates | None:
    """The candidates that the request asks for."""
    if job.candidates_from is None:
        return None
    return candidates.subset(
        np.flatnonzero(candidates.peaks.max(axis=1, initial=0) >= job.candidates_from)
    )
