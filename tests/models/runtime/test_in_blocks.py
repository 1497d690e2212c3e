"""Modules in a loop of the graph, beside what torch makes of all rows at once."""

from collections.abc import Callable

import numpy as np
import openvino
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grounded_labeler.models.runtime.in_blocks import ROWS_AT_ONCE, in_blocks

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning:torch.*")]

WIDTH, HIDDEN, SEEN = 6, 40, 9
Run = Callable[..., NDArray[np.float32]]


class Rows(nn.Module):
    """Two layers, of which the second also takes a table that all rows share."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, SEEN)

    def forward(self, rows: Tensor, others: Tensor, table: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(rows).relu()).softmax(-1) @ table + others
        return out


class InBlocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows()

    def forward(self, rows: Tensor, others: Tensor, table: Tensor) -> Tensor:
        return in_blocks(self.rows, (rows, others), (table,))


@pytest.fixture(scope="module")
def graph() -> openvino.Model:
    shapes = [[-1, WIDTH], [-1, 1], [SEEN, -1]]
    with torch.no_grad():
        return openvino.convert_model(
            InBlocks(),
            example_input=(torch.ones(3, WIDTH), torch.ones(3, 1), torch.ones(SEEN, 4)),
            input=[openvino.PartialShape(shape) for shape in shapes],
        )


@pytest.fixture(scope="module")
def run(graph: openvino.Model) -> Run:
    model = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda *given: np.array(model([one.numpy() for one in given])[0])


@pytest.mark.parametrize(
    "count", [1, 7, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 2 * ROWS_AT_ONCE + 3]
)
@pytest.mark.parametrize("width", [1, 4])
@torch.no_grad()
def test_any_number_of_rows(run: Run, count: int, width: int) -> None:
    chance = torch.Generator().manual_seed(count)
    rows, others, table = (
        torch.randn(*shape, generator=chance)
        for shape in ((count, WIDTH), (count, 1), (SEEN, width))
    )
    expected = Rows()(rows, others, table)
    found = run(rows, others, table)
    assert found.shape == (count, width)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5, rtol=0)


def test_nothing_of_all_rows_is_wider_than_what_comes_in_and_goes_out(
    graph: openvino.Model,
) -> None:
    """What is saved: the hidden layer is that of a block, and in the loop."""
    [loop] = [node for node in graph.get_ops() if node.get_type_name() == "TensorIterator"]
    in_loop = [node.get_output_partial_shape(0) for node in loop.get_function().get_ops()]
    assert openvino.PartialShape([ROWS_AT_ONCE, HIDDEN]) in in_loop
    widths = [
        shape[-1]
        for shape in (node.get_output_partial_shape(0) for node in graph.get_ops())
        if shape.rank.get_length() == 2 and shape.is_dynamic
    ]
    assert widths
    assert not [one for one in widths if one.is_static and one.get_length() > WIDTH]
