"""Which part of the models runs a request, and who goes before whom."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from grounded_labeler.core.inference import (
    InferenceRequest,
    InferenceResult,
    Request,
    SegmentRequest,
)
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import DecodedImage, Thresholds
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.demo.shapes import draw_image
from grounded_labeler.errors import CallerGone
from grounded_labeler.inference.backend import Priority, never_cancelled
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.models.pipeline import Pipeline
from tests.helpers.backends import loaded
from tests.helpers.models_thread import WAIT_S, held
from tests.helpers.serving import wait_until

IMAGE = DecodedImage.of(draw_image(np.random.default_rng(5), (160, 120)).image)
CLICK = SegmentRequest(
    IMAGE, VisualPrompts(None, np.array([[[80, 60]]], np.float32), np.array([[True]])), "Circle"
)
TYPED = InferenceRequest(
    IMAGE, parse_prompt("red circle", ()), (), Thresholds(0.3, 0.25, 0.7, 100), with_masks=False
)


def test_clicks_go_first_and_alone_and_encoding_ahead_goes_last(
    demo_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A click that shared a run with a prompt would wait for the detector."""
    queue, runs = InferenceQueue(WAIT_S), list[list[type]]()
    backend = loaded(demo_pipeline, queue)
    run, encode = demo_pipeline.run, demo_pipeline.encode

    def noting_run(requests: Sequence[Request]) -> list[InferenceResult]:
        runs.append([type(request) for request in requests])
        return run(requests)

    def noting_encode(images: Sequence[DecodedImage]) -> list[None]:
        runs.append([type(image) for image in images])
        return encode(images)

    monkeypatch.setattr(demo_pipeline, "run", noting_run)
    monkeypatch.setattr(demo_pipeline, "encode", noting_encode)

    def ask(request: Request, priority: Priority) -> None:
        backend.run([request], never_cancelled, WAIT_S, priority)

    with ThreadPoolExecutor() as callers:
        with held(queue) as work:
            assert work.begun.wait(WAIT_S)
            waiting = [
                callers.submit(backend.encode, IMAGE, never_cancelled),
                callers.submit(ask, TYPED, Priority.PREANNOTATION),
                callers.submit(ask, TYPED, Priority.TYPED_PROMPT),
                callers.submit(ask, CLICK, Priority.CLICK),
                callers.submit(ask, CLICK, Priority.FURTHER_CLICK),
            ]
            wait_until(lambda: queue.waiting == len(waiting))
        for one in waiting:
            one.result()
    clicks = [[SegmentRequest], [SegmentRequest]]
    assert runs == [*clicks, [InferenceRequest], [InferenceRequest], [DecodedImage]]


def test_an_image_that_nobody_needs_any_more_is_not_encoded(demo_pipeline: Pipeline) -> None:
    backend = loaded(demo_pipeline)
    with pytest.raises(CallerGone):
        backend.encode(IMAGE, lambda: True)


def test_without_a_segmenter_there_is_nothing_to_encode(demo_pipeline: Pipeline) -> None:
    pipeline = Pipeline(demo_pipeline.detector, None)
    loaded(pipeline).encode(IMAGE, never_cancelled)
    with pytest.raises(ValueError, match="no segmenter"):
        pipeline.run([CLICK])
