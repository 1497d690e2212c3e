"""What a GPU computes for the second time is recorded, and answers for what it is given."""

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.agreement import demo_folder, pairs
from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.recorded import Recording
from grounded_labeler.models.segmenters import load_segmenter
from tests.gpu.devices import CUDA, drawn

pytestmark = pytest.mark.slow

COUNT = 5
PHRASES = ("red star", "blue circle")
BEST = 3


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """The recording of each run that was one."""
    runs: list[Recording] = []
    run = Recording.run

    def counted(recording: Recording, inputs: Any) -> Any:
        runs.append(recording)
        return run(recording, inputs)

    monkeypatch.setattr(Recording, "run", counted)
    return runs


def detected(device: str, images: list[DecodedImage]) -> list[Candidates]:
    detector = load_detector("transformers", demo_folder("detector"), Options(Compute(device)))
    return [detector.detect([image], [PHRASES])[0] for image in images]


@pytest.mark.parametrize("device", [CUDA])
def test_each_image_gets_its_own_boxes(device: str, recorded: list[Recording]) -> None:
    images = drawn(COUNT)
    found, expected = detected(device, images), detected("cpu", images)
    assert len(recorded) >= 2 * (COUNT - 1), "the image encoder and the fusion"
    for one, other in zip(expected, found, strict=True):
        mine, theirs = ((each.boxes, each.peaks.max(axis=1)) for each in (one, other))
        best = np.argsort(-mine[1])[:BEST]
        assert set(best.tolist()) <= {row for row, _ in pairs(mine, theirs)}


@pytest.mark.parametrize("device", [CUDA])
def test_each_image_gets_its_own_masks(device: str, recorded: list[Recording]) -> None:
    box = VisualPrompts.of_boxes(np.array([[60, 60, 200, 180]], np.float32))
    masks = {
        where: [
            load.segment(image, box)[0].mask.full()
            for load in [load_segmenter("sam", demo_folder("segmenter"), Compute(where))]
            for image in drawn(COUNT)
        ]
        for where in ("cpu", device)
    }
    assert len(recorded) == 2 * (COUNT - 1)
    for one, other in zip(*masks.values(), strict=True):
        assert np.mean(one == other) > 0.999


@pytest.mark.parametrize("device", [CUDA])
def test_what_is_released_holds_no_memory_and_is_recorded_anew(
    device: str, recorded: list[Recording]
) -> None:
    options = Options(Compute(device))
    detector = load_detector("transformers", demo_folder("detector"), options)
    image, *others = drawn(3)
    before = detector.detect([image], [PHRASES])[0]
    for other in others:
        detector.detect([other], [PHRASES])
    held = torch.cuda.memory_reserved()
    recorded.clear()
    detector.release()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() < held
    for _ in range(3):
        after = detector.detect([image], [PHRASES])[0]
    assert recorded
    np.testing.assert_allclose(after.peaks, before.peaks, atol=2e-3)
