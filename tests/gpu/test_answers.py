"""A GPU answers as the CPU does, by the rule: 99 % of boxes within a pixel and 0.01."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from benchmarks.agreement import WANTED, compared, demo_folder, demo_pipeline
from grounded_labeler.core.inference import InferenceResult
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.runtime.device import Compute, Precision
from grounded_labeler.models.segmenters import load_segmenter
from tests.gpu.devices import CUDA, DEVICES, drawn, jobs, truth
from tests.models.segmenters.small_models import FAMILIES, small_segmenter

pytestmark = pytest.mark.slow

CLICK = VisualPrompts(None, np.array([[[150, 110]]], np.float32), np.array([[True]]))
TWO_CLICKS = VisualPrompts(
    None, np.array([[[150, 110], [20, 20]]], np.float32), np.array([[True, False]])
)
BOXES = VisualPrompts.of_boxes(
    np.array([[40, 30, 200, 180], [0, 0, 320, 240], [150, 100, 156, 104]], np.float32)
)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("device", DEVICES)
def test_boxes_and_masks_are_those_of_float32_on_the_cpu(device: str, precision: Precision) -> None:
    found = demo_pipeline(Compute(device, precision)).run(jobs())
    row = compared("demo", precision, truth(), found)
    assert row["boxes"] >= 60
    assert row["share"] >= WANTED, row
    assert row["mean mask IoU"] > 0.995, row
    assert all(np.isfinite(one.detections.boxes).all() for one in found)


@pytest.mark.parametrize("device", [CUDA])
def test_bfloat16_computes_and_is_near(device: str) -> None:
    """It moves too many boxes for the rule, on every device; what it finds is still there."""
    found = demo_pipeline(Compute(device, "bf16")).run(jobs())
    counts = [sum(len(one.detections) for one in results) for results in (truth(), found)]
    assert abs(counts[0] - counts[1]) <= 0.05 * counts[0]


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_answers_as_one_image_after_the_other(device: str) -> None:
    """Of each size of image a whole batch, each image with its own prompt."""
    by_size = sorted(jobs(), key=lambda job: job.image.pixels.shape)
    sizes = [list(group) for _, group in groupby(by_size, lambda job: job.image.pixels.shape)]
    assert min(map(len, sizes)) > 1
    batched = demo_pipeline(Compute(device), batch_size=len(by_size))
    alone = demo_pipeline(Compute(device), batch_size=1)
    together = batched.run(by_size)
    one_by_one: list[InferenceResult] = [alone.run([job])[0] for job in by_size]
    row = compared("demo", "in a batch", one_by_one, together)
    assert row["share"] >= WANTED, row
    assert row["least mask IoU"] > 0.99, row


@pytest.mark.parametrize("prompts", [BOXES, CLICK, TWO_CLICKS], ids=["boxes", "click", "clicks"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("device", DEVICES)
def test_masks_of_the_same_prompts_are_the_same(
    device: str, precision: Precision, prompts: VisualPrompts
) -> None:
    folder = demo_folder("segmenter")
    [image] = drawn(1)
    on_cpu = load_segmenter("sam", folder, Compute()).segment(image, prompts)
    there = load_segmenter("sam", folder, Compute(device, precision)).segment(image, prompts)
    assert_same_masks([one.mask.full() for one in on_cpu], [one.mask.full() for one in there])
    np.testing.assert_allclose(
        [one.score for one in there], [one.score for one in on_cpu], atol=0.01
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("device", DEVICES)
def test_masks_of_other_segmenters_are_the_same(device: str, family: str) -> None:
    [image] = drawn(1)
    on_cpu, there = (
        small_segmenter(family, Compute(one)).segment(image, BOXES) for one in ("cpu", device)
    )
    assert_same_masks([one.mask.full() for one in on_cpu], [one.mask.full() for one in there])


def assert_same_masks(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    """At most one pixel in 200 of each mask differs, at its edge."""
    assert len(one) == len(other)
    assert any(mask.any() for mask in one)
    for mine, theirs in zip(one, other, strict=True):
        assert (mine ^ theirs).sum() <= max(2, 0.005 * mine.sum())


@pytest.mark.parametrize("device", DEVICES)
def test_embeddings_are_the_same(device: str) -> None:
    images, folder = drawn(3), demo_folder("detector")
    on_cpu, there = (
        load_detector("transformers", folder, Options(Compute(one))).embed(images)
        for one in ("cpu", device)
    )
    assert (np.diag(on_cpu @ there.T) > 0.999).all()


@pytest.mark.parametrize("device", DEVICES)
def test_a_second_prompt_uses_what_the_device_keeps(device: str) -> None:
    """Features that stayed on the device are joined with those of images that are new."""
    some = [replace(job, image=image) for job, image in zip(jobs(), drawn(4), strict=False)]
    pipeline = demo_pipeline(Compute(device), batch_size=4, cache_bytes=2**26)
    pipeline.run(some[:2])
    again = pipeline.run(some)
    fresh = demo_pipeline(Compute(device)).run(some)
    assert compared("demo", "again", fresh, again)["share"] >= WANTED
