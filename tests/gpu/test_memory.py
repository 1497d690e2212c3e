"""A GPU that runs out of memory halves its batches, and gives memory back when asked to."""

import gc
import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.agreement import demo_folder, demo_jobs, demo_pipeline, pairs
from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.runtime import pytorch
from grounded_labeler.models.runtime.device import Compute, Precision
from grounded_labeler.models.runtime.graph import Tensors
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors
from tests.gpu.devices import DEVICES, drawn

pytestmark = pytest.mark.slow

COUNT = 8
# The larger, the more of a GPU's memory is what grows with the batch.
SHORT_SIDE = {"cpu": 160, "cuda": 800}
BEST = 3  # boxes of each image that must be the same
PHRASES = ("red star", "blue circle")


@contextmanager
def room_for_half(device: str, detector: Any, images: Sequence[DecodedImage]) -> Iterator[None]:
    """While open, a batch of all `images` is too much, and one of half of them is not.

    On a GPU by a true limit on what PyTorch may take, between what it takes for one image and
    for all of them. A CPU has no such limit: there the detector asks for more than there is.
    """
    if device == "cpu":
        encode = detector.encode_image

        @translate_memory_errors()
        def limited(pixels: Any) -> Any:
            if len(pixels) > len(images) // 2:
                torch.empty(2**60, dtype=torch.uint8)
            return encode(pixels)

        detector.encode_image = limited
        yield
        return
    least, most = (_taken(detector, images[:count]) for count in (1, len(images)))
    assert most > 1.5 * least, "the images must take most of the memory"
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((least + most) / 2 / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def _taken(detector: Any, images: Sequence[DecodedImage]) -> int:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    detect(detector, images)
    return int(torch.cuda.max_memory_reserved())


def detect(detector: Any, images: Sequence[DecodedImage]) -> list[Candidates]:
    found: list[Candidates] = detector.detect(images, [PHRASES] * len(images))
    return found


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(
    device: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = Options(Compute(device), batch_size=COUNT, short_side=SHORT_SIDE[device])
    detector = load_detector("transformers", demo_folder("detector"), options)
    images = drawn(COUNT)
    before = detect(detector, images)
    with room_for_half(device, detector, images), caplog.at_level(logging.WARNING):
        found = detect(detector, images)
        again = detect(detector, images[:2])
    assert f"Out of memory on a batch of {COUNT}" in caplog.text
    for one, other in zip([*before, *before[:2]], [*found, *again], strict=True):
        assert not other.is_coarse, "no image had to be seen smaller"
        mine, theirs = ((each.boxes, each.peaks.max(axis=1)) for each in (one, other))
        best = np.argsort(-mine[1])[:BEST]
        assert set(best.tolist()) <= {row for row, _ in pairs(mine, theirs)}


@pytest.mark.gpu
def test_every_way_a_gpu_runs_out_of_memory_is_one_error() -> None:
    with pytest.raises(OutOfMemory, match="CUDA out of memory"), translate_memory_errors():
        torch.empty(2**45, dtype=torch.uint8, device="cuda")
    with pytest.raises(OutOfMemory), translate_memory_errors():
        torch.empty(2**46, dtype=torch.uint8, pin_memory=True)
    assert torch.ones(3, device="cuda").sum().item() == 3, "the device goes on"


@pytest.mark.gpu
def test_releasing_gives_memory_back_to_the_device() -> None:
    pipeline = demo_pipeline(Compute("cuda"), batch_size=COUNT)
    pipeline.run(demo_jobs(COUNT))
    free_at_work, _ = torch.cuda.mem_get_info()
    reserved_at_work = torch.cuda.memory_reserved()
    pipeline.release()
    free, _ = torch.cuda.mem_get_info()
    assert torch.cuda.memory_reserved() < reserved_at_work
    assert free > free_at_work


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_released_answers_again(device: str) -> None:
    pipeline = demo_pipeline(Compute(device))
    [job] = demo_jobs(1)
    [before] = pipeline.run([job])
    pipeline.release()
    [after] = pipeline.run([job])
    np.testing.assert_allclose(after.detections.boxes, before.detections.boxes, atol=0.01)


@pytest.mark.gpu
def test_a_pipeline_that_is_dropped_leaves_nothing_on_the_device() -> None:
    """What the cache and the models held is free once nobody has them."""

    def run() -> None:
        demo_pipeline(Compute("cuda"), cache_bytes=2**26).run(demo_jobs(2))

    run()  # libraries keep workspaces of their own, made once
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before


@pytest.mark.parametrize("device", DEVICES)
def test_what_a_dropped_pipeline_held_is_free_before_python_looks_for_circles(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models whose modules hold each other in a circle would stay beside those that follow."""
    modules: list[weakref.ref[nn.Module]] = []
    kernel_by_kernel = pytorch._kernel_by_kernel

    def noted(module: nn.Module, device: str, precision: Precision) -> Callable[..., Tensors]:
        modules.extend(map(weakref.ref, module.modules()))
        return kernel_by_kernel(module, device, precision)

    monkeypatch.setattr(pytorch, "_kernel_by_kernel", noted)
    gc.disable()
    try:
        demo_pipeline(Compute(device), cache_bytes=2**26).run(demo_jobs(2))
        left = {type(module).__name__ for one in modules if (module := one()) is not None}
    finally:
        gc.enable()
    assert modules
    assert left == set()
