"""Sizes are whole numbers in the graphs: what they are divided by never costs or adds a cell."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.graph import SubModel, Tensors
from tests.helpers.graphs import export_parts, make_graphs

MOST_CELLS = 400  # a side of 1,600 pixels in Swin's patches of 4


class Windows(nn.Module):
    """What the Swins of both packages make of a side's length, as numbers from 0 up to each.

    How many windows it takes, which cells of the last one are padding, and what half of it is.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, cells: Tensor) -> Tensors:
        length = cells.shape[0]
        windows = (length + self.side - 1) // self.side
        padding = (self.side - length % self.side) % self.side
        numbers = (windows * self.side, windows, (length + padding) // self.side, (length + 1) // 2)
        return tuple(torch.arange(number).float() for number in (*numbers, padding + 1))


@pytest.mark.filterwarnings("ignore::FutureWarning:torch.*")
@pytest.mark.parametrize("side", [4, 7, 12])
def test_a_side_has_as_many_windows_as_in_torch(side: int, tmp_path: Path) -> None:
    parts = {"windows": SubModel(Windows(side), lambda: (torch.zeros(30),))}
    export_parts(parts, tmp_path / "graphs")
    by_torch, by_openvino = (
        make_graphs(parts, Compute(), where)["windows"] for where in (None, tmp_path / "graphs")
    )
    for length in range(1, MOST_CELLS + 1):
        given = np.zeros(length, np.float32)
        for one, other in zip(by_torch(given), by_openvino(given), strict=True):
            np.testing.assert_array_equal(one, other, f"{length} cells")
