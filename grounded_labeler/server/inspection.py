"""The routes of those who look at what the models see: all candidates, and masks of what is marked.

They share the login, the limits, the slots and the queue of predictions.
"""

from functools import partial

import numpy as np
from flask import Blueprint, Response, jsonify, request

from grounded_labeler import tracing
from grounded_labeler.coco import coco_rle
from grounded_labeler.core.boxes import clip_boxes, has_min_side
from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.errors import BadRequest
from grounded_labeler.inference.backend import Cancelled
from grounded_labeler.label_studio.task_images import decode_cached
from grounded_labeler.server.body import read_body
from grounded_labeler.server.disconnect import client_disconnected
from grounded_labeler.server.inspection_types import (
    CandidateJson,
    DetectorJson,
    DetectRequest,
    DetectResponse,
    MaskJson,
    ModelsResponse,
    OfImage,
    PhraseJson,
    SegmentImageRequest,
    SegmentResponse,
    ThresholdsJson,
    TilesJson,
)
from grounded_labeler.server.inspector import LOWEST_SCORE, Inspection, InspectionQuery, Inspector
from grounded_labeler.service import Service


def inspection_routes(service: Service) -> Blueprint:
    """The routes /models, /detect and /segment."""
    routes = Blueprint("inspection", __name__)
    inspector = Inspector(service)

    @routes.get("/models")
    def models() -> Response:
        offer = inspector.offer()
        detectors = [
            DetectorJson(
                name=one.name, box_threshold=one.box_threshold, text_threshold=one.text_threshold
            )
            for one in offer.detectors
        ]
        return jsonify(ModelsResponse(detectors=detectors, segmenters=list(offer.segmenters)))

    @routes.post("/detect")
    def detect() -> Response:
        asked = read_body(DetectRequest)
        query = InspectionQuery(
            asked.prompt,
            None if asked.labels is None else tuple(asked.labels),
            asked.label_config,
            asked.detector,
            asked.segmenter,
            asked.background,
            asked.tiles,
        )
        load = partial(_load, service, asked)
        return jsonify(_response(inspector.detect(load, query, _cancelled())))

    @routes.post("/segment")
    def segment() -> Response:
        asked = read_body(SegmentImageRequest)
        if (asked.boxes is None) == (asked.clicks is None):
            raise BadRequest("Send either `boxes` or `clicks`.")
        load, mark = partial(_load, service, asked), partial(_mark, asked)
        found = inspector.segment(load, mark, asked.detector, asked.segmenter, _cancelled())
        masks = [
            MaskJson(mask=None if one.mask is None else coco_rle(one.mask), score=one.score)
            for one in found
        ]
        return jsonify(SegmentResponse(masks=masks))

    return routes


def _cancelled() -> Cancelled:
    return client_disconnected(request.environ.get("gunicorn.socket"))


def _load(service: Service, asked: OfImage) -> DecodedImage:
    """Fetch and decode an image by the rules for those of tasks; raises ImageError."""
    source = service.source(asked.project)
    task = asked.task if isinstance(asked.task, int) and not isinstance(asked.task, bool) else None
    with tracing.span("fetch", task=task):
        data = source.fetcher.fetch(asked.image, source.origin, task)
        tracing.note(bytes=len(data))
    return decode_cached(data, source, task)


def _mark(asked: SegmentImageRequest, image: DecodedImage) -> VisualPrompts:
    """What is marked in the image; raises BadRequest for what does not lie on it."""
    height, width = image.pixels.shape[:2]
    if asked.boxes is not None:
        boxes = np.array(asked.boxes, np.float32).reshape(-1, 4)
        boxes = clip_boxes(boxes, (width, height))
        if not has_min_side(boxes).all():
            raise BadRequest("A box has no area on the image: x0 must be below x1, y0 below y1.")
        return VisualPrompts.of_boxes(boxes)
    clicks = asked.clicks or []
    if not any(click["positive"] for click in clicks):
        raise BadRequest("At least one click must be positive: on the object.")
    if not all(0 <= click["x"] < width and 0 <= click["y"] < height for click in clicks):
        raise BadRequest("A click lies outside the image.")
    points = np.array([[(click["x"], click["y"]) for click in clicks]], np.float32)
    return VisualPrompts(None, points, np.array([[click["positive"] for click in clicks]]))


def _response(seen: Inspection) -> DetectResponse:
    limits, (width, height) = seen.thresholds, seen.size_wh
    phrases = [
        PhraseJson(text=one.text, label=label, negative=one.negative, score_threshold=threshold)
        for one, label, threshold in zip(
            seen.prompt.phrases, seen.phrase_labels, seen.score_thresholds, strict=True
        )
    ]
    presence, views = seen.candidates.presence, seen.candidates.views
    tiles = None if views is None else TilesJson(done=views.tiles.done, wanted=views.tiles.wanted)
    return DetectResponse(
        width=width,
        height=height,
        thresholds=ThresholdsJson(
            box=limits.box, text=limits.text, nms=limits.nms, max_regions=limits.max_regions
        ),
        phrases=phrases,
        lowest_score=LOWEST_SCORE,
        scores_tokens=seen.candidates.scores_tokens,
        is_coarse=seen.candidates.is_coarse,
        presence=None if presence is None else presence.tolist(),
        tiles=tiles,
        candidates=_candidates(seen.candidates),
    )


def _candidates(candidates: Candidates) -> list[CandidateJson]:
    """Each with the scores that are not 0: of thousands of phrases, only those of its caption."""
    views = candidates.views
    none = [None] * len(candidates)
    rows = zip(
        candidates.boxes,
        candidates.captions,
        none if views is None else views.frames.tolist(),
        none if views is None else views.is_cut.tolist(),
        candidates.peaks,
        candidates.means,
        strict=True,
    )
    return [
        CandidateJson(
            box=box.tolist(),
            caption=int(caption),
            view=view,
            is_cut=bool(is_cut),
            scores=[
                (int(i), float(peaks[i]), float(means[i])) for i in np.flatnonzero(peaks + means)
            ],
        )
        for box, caption, view, is_cut, peaks, means in rows
    ]
