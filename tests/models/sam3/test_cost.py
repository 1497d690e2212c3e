"""What SAM 3 takes of a CPU: counted for the published sizes, said in one sentence."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Sam3Config, Sam3Model

from grounded_labeler.models.runtime.device import Compute, Precision, Runtime
from grounded_labeler.models.sam3.cost import Cost, measure_speed

pytestmark = pytest.mark.slow


def test_operations_are_about_those_that_torch_counts() -> None:
    """Of the published sizes, on tensors without numbers."""
    cost = Cost.of(Sam3Config())
    with torch.device("meta"):
        detector = Sam3Model(Sam3Config()).eval()
        pixels, level = torch.randn(1, 3, 1008, 1008), torch.randn(1, 256, 72, 72)
        text = torch.randn(1, 32, 256)
    with torch.inference_mode(), FlopCounterMode(display=False) as image:
        detector.vision_encoder(pixels)  # its neck takes as much as both of those that run
    # The decoder cannot run without numbers. It has 201 queries beside 5,184 patches.
    with torch.inference_mode(), FlopCounterMode(display=False) as phrase:
        detector.detr_encoder([level], text, [level])
    assert cost.image == pytest.approx(image.get_total_flops(), rel=0.01)
    assert cost.phrase == pytest.approx(phrase.get_total_flops(), rel=0.1)


@pytest.mark.parametrize(
    ("speed", "sentence"),
    [
        (1.6e11, "about 35 s for each image and at least 1.5 s more for each phrase"),
        (4e12, "about 1.4 s for each image and at least 0.1 s more for each phrase"),
    ],
)
def test_the_sentence_says_seconds(speed: float, sentence: str) -> None:
    assert sentence in Cost.of(Sam3Config()).sentence(speed)


@pytest.mark.parametrize("package", ["PyTorch", "OpenVINO"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_speed_of_this_machine_is_measured(precision: Precision, package: str) -> None:
    runtime = Runtime(package, precision, 1)
    assert measure_speed(Compute(precision=precision), runtime) > 0
