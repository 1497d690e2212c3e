"""Ways to compute that the benchmark tries give what the service's own way gives."""

import pytest
import torch

from benchmarks.asking import Album
from benchmarks.gpu.encoders import encoders
from benchmarks.gpu.sides import Sides
from benchmarks.gpu.ways import (
    Encoder,
    Way,
    channels_last,
    cuda_graph,
    difference,
    half_weights,
    plain,
    with_tf32,
)
from grounded_labeler.models.runtime.device import Precision
from tests.gpu.devices import CUDA, DEVICES

pytestmark = pytest.mark.slow


def small_encoders() -> list[Encoder]:
    return encoders(Sides("demo", "cpu", Album(), ""))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("way", "precision", "most"),
    [
        # The weights are cast once and not in each run: nothing else is different.
        (half_weights, "bf16", 0.0),
        (half_weights, "fp16", 0.0),
        (channels_last, "fp32", 1e-4),
        (channels_last, "bf16", 0.02),
    ],
)
def test_it_is_the_same_encoder(device: str, way: Way, precision: Precision, most: float) -> None:
    if device == "cuda":  # kernels are chosen anew, and convolutions of float32 use TF32
        most = max(most, 5e-3)
    for encoder in small_encoders():
        pixels = encoder.pixels.to(device)
        one, other = (each(encoder, device, precision)(pixels) for each in (plain, way))
        assert all(out.dtype == torch.float32 for out in other)
        assert difference(other, one) <= most, encoder.name


@pytest.mark.parametrize("device", [CUDA])
def test_a_graph_answers_for_the_pixels_of_each_run(device: str) -> None:
    for encoder in small_encoders():
        recorded = cuda_graph(half_weights, encoder, device, "fp16")
        run = half_weights(encoder, device, "fp16")
        for seed in range(3):
            torch.manual_seed(seed)
            pixels = torch.randn_like(encoder.pixels).to(device)
            assert difference(recorded(pixels), run(pixels)) <= 1e-3, encoder.name


@pytest.mark.parametrize("device", DEVICES)
def test_tf32_ends_with_the_run(device: str) -> None:
    before = torch.get_float32_matmul_precision()
    encoder = small_encoders()[0]
    with_tf32(encoder, device, "fp32")(encoder.pixels.to(device))
    assert torch.get_float32_matmul_precision() == before
