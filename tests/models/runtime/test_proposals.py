"""The graphs propose boxes from the same cells as torch, however many there are a side."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from groundingdino.models.GroundingDINO.utils import gen_encoder_output_proposals
from torch import Tensor, nn
from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoModel
from transformers.models.mm_grounding_dino.modeling_mm_grounding_dino import MMGroundingDinoModel

from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.graph import Graph, SubModel, Tensors
from grounded_labeler.models.runtime.proposals import propose
from tests.helpers.graphs import export_parts, make_graphs

# Both packages say so of functions that OpenVINO's converter calls.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::FutureWarning:torch.*", "ignore::FutureWarning:transformers.*"
    ),
]

Propose = Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor]]
MOST_CELLS = 200


def of_package(memory: Tensor, padding: Tensor, sizes: Any) -> tuple[Tensor, Tensor]:
    """The package's own function, and what a graph has in its place."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return propose(memory, sizes)
    proposed: tuple[Tensor, Tensor] = gen_encoder_output_proposals(
        memory, padding, torch.as_tensor(sizes)
    )
    return proposed


def of_transformers(model_class: Any) -> Propose:
    """The method of a transformers model, its two layers left out."""
    model = SimpleNamespace(enc_output=nn.Identity(), enc_output_norm=nn.Identity())

    def proposed_by(memory: Tensor, padding: Tensor, sizes: Any) -> tuple[Tensor, Tensor]:
        proposed: tuple[Tensor, Tensor] = model_class.generate_encoder_output_proposals(
            model, memory, padding, sizes
        )
        return proposed

    return proposed_by


class Proposals(nn.Module):
    """Levels (1, C, h_i, w_i) to what is proposed from: memory (1, S, C), boxes (1, S, 4)."""

    def __init__(self, propose: Propose) -> None:
        super().__init__()
        self.propose = propose

    def forward(self, *levels: Tensor) -> Tensors:
        sizes = [(level.shape[2], level.shape[3]) for level in levels]
        memory = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)
        padding = torch.zeros_like(memory[..., 0], dtype=torch.bool)
        return self.propose(memory, padding, sizes)


def levels(height: int, width: int) -> Tensors:
    """Three levels of ones, each half of the one before, the sides rounded up as Swin does."""
    sizes = [(-(-height // 2**level), -(-width // 2**level)) for level in range(3)]
    return tuple(torch.ones(1, 2, *size) for size in sizes)


PROPOSE: dict[str, Propose] = {
    "groundingdino": of_package,
    "grounding-dino": of_transformers(GroundingDinoModel),
    "mm-grounding-dino": of_transformers(MMGroundingDinoModel),
}


@pytest.fixture(scope="module", params=list(PROPOSE))
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Graph]:
    """What a package proposes, by torch and by OpenVINO."""
    parts = {"proposals": SubModel(Proposals(PROPOSE[request.param]), lambda: levels(30, 37))}
    folder: Path = tmp_path_factory.mktemp("exported") / "graphs"
    export_parts(parts, folder)
    return [make_graphs(parts, Compute(), where)["proposals"] for where in (None, folder)]


@pytest.mark.parametrize("turned", [False, True], ids=["wide", "tall"])
def test_the_same_cells_propose_boxes_whatever_the_size(both: list[Graph], *, turned: bool) -> None:
    """Both sides of a size are odd at times: 2 to 200 cells a side, three levels each."""
    with_torch, with_openvino = both
    for cells in range(2, MOST_CELLS + 1):
        size = (1 + cells // 2, cells)
        given = levels(*(size[::-1] if turned else size))
        arrays = [level.numpy() for level in given]
        (memory, boxes), (other_memory, other_boxes) = with_torch(*arrays), with_openvino(*arrays)
        np.testing.assert_array_equal(memory, other_memory, f"{cells} cells a side")
        # Infinite boxes are so in both.
        np.testing.assert_allclose(other_boxes, boxes, atol=1e-5, rtol=1e-5)


def test_fifty_cells_leave_out_the_outermost() -> None:
    """(49 + 0.5) / 50 is not below 0.99: the case that OpenVINO's division gets wrong."""
    memory, _ = gen_encoder_output_proposals(
        torch.ones(1, 2500, 1), torch.zeros(1, 2500, dtype=torch.bool), torch.tensor([[50, 50]])
    )
    assert memory.view(50, 50).sum(0).count_nonzero() == 48
