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

from grounded_labeler.models.runtime.fused_attention import sampled_by_torch
from grounded_labeler.models.runtime.point_sampling import (
    QUERIES_AT_ONCE,
    Sampling,
    sampling_graph,
)

pytestmark = pytest.mark.slow

HEADS, LEVELS, POINTS, CHANNELS = 4, 3, 2, 24
PLAN = 3 * HEADS * LEVELS * POINTS
Run = Callable[..., NDArray[np.float32]]


@cache
def compiled(coordinates: int) -> Run:
    sampling = Sampling(HEADS, LEVELS, POINTS, CHANNELS, coordinates)
    inputs = [
        ops.parameter([1, -1, PLAN], np.float32),
        ops.parameter([1, -1, CHANNELS], np.float32),
        ops.parameter([1, -1, LEVELS, coordinates], np.float32),
        ops.parameter([LEVELS, 2], np.int64),
    ]
    # As the converter gives them: outputs of nodes, not nodes.
    graph = sampling_graph(sampling, *(node.output(0) for node in inputs))
    model = openvino.Core().compile_model(
        openvino.Model([graph], inputs), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return lambda *given: np.array(model([one.numpy() for one in given])[0])


def compare(plan: Tensor, values: Tensor, places: Tensor, sizes: Tensor) -> None:
    sampling = Sampling(HEADS, LEVELS, POINTS, CHANNELS, places.shape[-1])
    references = places[:, :, None].expand(-1, -1, LEVELS, -1).contiguous()
    expected = sampled_by_torch(sampling, plan, values, references, sizes)
    found = compiled(places.shape[-1])(plan, values, references, sizes)
    assert found.shape == tuple(expected.shape)
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-5, rtol=0)


def values_of(sizes: Tensor, chance: torch.Generator) -> Tensor:
    return torch.randn(1, int(sizes.prod(1).sum()), CHANNELS, generator=chance)


@pytest.mark.parametrize("coordinates", [2, 4])
@pytest.mark.parametrize(
    "queries",
    [1, 7, QUERIES_AT_ONCE - 1, QUERIES_AT_ONCE, QUERIES_AT_ONCE + 1, 2 * QUERIES_AT_ONCE + 3],
)
def test_any_number_of_queries(queries: int, coordinates: int) -> None:
    chance = torch.Generator().manual_seed(queries)
    sizes = torch.tensor([[9, 13], [5, 7], [3, 4]])
    plan = torch.randn(1, queries, PLAN, generator=chance) * 3
    places = torch.rand(1, queries, coordinates, generator=chance)
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
    plan = torch.randn(1, 200, PLAN, generator=chance) * reach
    places = torch.rand(1, 200, coordinates, generator=chance) * 1.4 - 0.2
    compare(plan, values_of(torch.tensor(sizes), chance), places, torch.tensor(sizes))


def test_points_exactly_on_cells_and_on_their_borders() -> None:
    """Where rounding might take another cell, that cell's weight is 0."""
    sizes = torch.tensor([[8, 8], [4, 4], [2, 2]])
    values = values_of(sizes, torch.Generator().manual_seed(0))
    quarters = torch.arange(-2, 35) / 32
    places = torch.cartesian_prod(quarters, quarters)[None]
    compare(torch.zeros(1, places.shape[1], PLAN), values, places, sizes)
    above, below = (torch.nextafter(places, torch.tensor(side)) for side in (2.0, -2.0))
    for nearly in (above, below):
        compare(torch.zeros(1, places.shape[1], PLAN), values, nearly, sizes)
