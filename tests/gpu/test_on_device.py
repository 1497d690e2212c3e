"""Pixels and masks that never leave the device are the same: torch's CPU stands in for a GPU."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.agreement import demo_pipeline
from grounded_labeler.cache import ByteCache
from grounded_labeler.core.inference import InferenceResult
from grounded_labeler.core.types import RGBImage
from grounded_labeler.core.visual_prompts import Segment, VisualPrompts
from grounded_labeler.models.detectors import grounding_dino
from grounded_labeler.models.pixels import PixelPlan
from grounded_labeler.models.runtime import device_pixels
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.graph import Graph
from grounded_labeler.models.segmenters import segmenter as segmenting
from tests.gpu.devices import drawn, jobs
from tests.gpu.test_answers import BOXES, CLICK, TWO_CLICKS
from tests.models.segmenters.small_models import FAMILIES, small_segmenter

pytestmark = pytest.mark.slow


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch, *models: Any) -> list[tuple[int, ...]]:
    """Let models make pixels as on a GPU and their graphs return tensors.

    Returns the shapes of the pixels, which grow as these are made.
    """
    shapes: list[tuple[int, ...]] = []

    def make(_device: str, image: RGBImage, plan: PixelPlan) -> torch.Tensor:
        pixels = device_pixels.make_pixels("cpu", image, plan)
        shapes.append(tuple(pixels.shape))
        return pixels

    def with_tensors(graph: Graph) -> Graph:
        return lambda *inputs: tuple(map(torch.as_tensor, graph(*inputs)))

    for module in (grounding_dino, segmenting):
        monkeypatch.setattr(module, "make_pixels_on", make)
    for model in models:
        model._graphs.update({name: with_tensors(one) for name, one in model._graphs.items()})
    return shapes


def assert_same(found: Sequence[InferenceResult], expected: Sequence[InferenceResult]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.detections.boxes, other.detections.boxes, atol=0.01)
        assert one.detections.labels == other.detections.labels
        assert_same_masks(one.masks or (), other.masks or ())


def assert_same_masks(found: Sequence[Any], expected: Sequence[Any]) -> None:
    assert any(mask.any() for mask in expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine.full() ^ theirs.full()).sum() <= 0.001 * theirs.full().sum()


def test_boxes_and_masks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    some = jobs()[:4]
    expected = demo_pipeline(Compute()).run(some)
    pipeline = demo_pipeline(Compute(), cache_bytes=2**28)
    made = as_on_a_gpu(monkeypatch, pipeline.detector, pipeline.segmenter)
    assert_same(pipeline.run(some), expected)
    assert len(made) == 2 * len(some)
    assert all(side % 4 == 0 for _, *sides in made for side in sides)
    assert_same(pipeline.run(some), expected)
    assert len(made) == 2 * len(some), "features stay on the device"


@pytest.mark.parametrize("family", FAMILIES)
def test_clicks_are_refined_from_logits_on_the_device(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [image] = drawn(1)

    def segment(segmenter: Any, prompts: VisualPrompts) -> list[Any]:
        segments: list[Segment] = segmenter.segment(image, prompts)
        return [segment.mask for segment in segments]

    on_host, on_device = (small_segmenter(family, cache=ByteCache(2**26)) for _ in range(2))
    expected = [segment(on_host, prompts) for prompts in (BOXES, CLICK, TWO_CLICKS)]
    made = as_on_a_gpu(monkeypatch, on_device)
    for prompts, masks in zip((BOXES, CLICK, TWO_CLICKS), expected, strict=True):
        assert_same_masks(segment(on_device, prompts), masks)
    assert made == [(3, 128, 128)]
