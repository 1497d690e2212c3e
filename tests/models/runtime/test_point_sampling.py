"""The graph that samples points, beside the package's own function."""

from collections.abc import Callable
from functools import cache

import numpy as np
import openvino
import pytest
import torch
from numpy.typing import NDArray
from openvino import opset15 as ops
from torch import Tensor

from grounded_labeler.models.runtime.fused_attention import of_values, sampled_by_torch
from grounded_labeler.models.runtime.point_sampling import Sampling, sampling_graph

pytestmark = pytest.mark.slow

HEADS, LEVELS, POINTS, CHANNELS = 4, 3, 2, 24
EACH = LEVELS * POINTS
PLAN = 3 * HEADS * EACH
Run = Callable[..., NDArray[np.float32]]


@cache
def compiled(queries: int, sampling: Sampling) -> Run:
    coordinates = sampling.coordinates
    shapes = [
        [queries, PLAN], [queries, coordinates], [-1, CHANNELS // HEADS], [2, EACH], [HEADS, EACH]
    ]  # fmt: skip
    inputs = [ops.parameter(shape, np.float32) for shape in shapes]
    # As the converter gives them: outputs of nodes, not nodes.
    plan, places, *seen = (node.output(0) for node in inputs)
    model = openvino.Core().compile_model(
        openvino.Model([sampling_graph(sampling, plan, places, seen)], inputs),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32"},
    )
    return lambda *given: np.array(model([one.numpy() for one in given])[0])


def compare(plan: Tensor, values: Tensor, places: Tensor, sizes: Tensor) -> None:
    for by_head in (True, False):
        sampling = Sampling(HEADS, LEVELS, POINTS, CHANNELS, places.shape[-1], by_head)
        rows, *more = (one.contiguous() for one in of_values(sampling, values, sizes))
        expected = sampled_by_torch(sampling, plan, places, rows, more[0])
        found = compiled(len(places), sampling)(plan, places, rows, *more)
        assert found.shape == tuple(expected.shape)
        np.testing.assert_allclose(found, expected.numpy(), atol=2e-5, rtol=0)


def values_of(sizes: Tensor, chance: torch.Generator) -> Tensor:
    return torch.randn(1, int(sizes.prod(1).sum()), CHANNELS, generator=chance)


@pytest.mark.parametrize("coordinates", [2, 4])
@pytest.mark.parametrize("queries", [1, 7, 512])
def test_any_number_of_queries(queries: int, coordinates: int) -> None:
    chance = torch.Generator().manual_seed(queries)
    sizes = torch.tensor([[9, 13], [5, 7], [3, 4]])
    plan = torch.randn(queries, PLAN, generator=chance) * 3
    places = torch.rand(queries, coordinates, generator=chance)
    compare(plan, values_of(sizes, chance), places, sizes)


@pytest.mark.parametrize(
    "sizes", [[[1, 1], [1, 1], [1, 1]], [[1, 9], [9, 1], [2, 2]], [[40, 2], [2, 40], [1, 2]]]
)
@pytest.mark.parametrize("reach", [0.5, 4.0, 100.0])
@pytest.mark.parametrize("coordinates", [2, 4])
def test_levels_of_any_size_and_points_beyond_them(
    sizes: list[list[int]], reach: float, coordinates: int
) -> None:
    chance = torch.Generator().manual_seed(0)
    plan = torch.randn(200, PLAN, generator=chance) * reach
    places = torch.rand(200, coordinates, generator=chance) * 1.4 - 0.2
    compare(plan, values_of(torch.tensor(sizes), chance), places, torch.tensor(sizes))


def test_points_exactly_on_cells_and_on_their_borders() -> None:
    """Where rounding might take another cell, that cell's weight is 0."""
    sizes = torch.tensor([[8, 8], [4, 4], [2, 2]])
    values = values_of(sizes, torch.Generator().manual_seed(0))
    quarters = torch.arange(-2, 35) / 32
    places = torch.cartesian_prod(quarters, quarters)
    compare(torch.zeros(len(places), PLAN), values, places, sizes)
    above, below = (torch.nextafter(places, torch.tensor(side)) for side in (2.0, -2.0))
    for nearly in (above, below):
        compare(torch.zeros(len(places), PLAN), values, nearly, sizes)
