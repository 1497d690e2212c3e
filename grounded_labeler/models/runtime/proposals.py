"""The boxes that Grounding DINO's encoder proposes, so computed that rounding decides nothing.

Both packages leave out the cells whose centre is not between 0.01 and 0.99 of the image. The
centre of the last of 50 cells is 0.99: (49 + 0.5) / 50 is 0.99000001 in torch's float32 and
0.98999995 where, as in OpenVINO, a division is a product with the reciprocal. So the graphs
compare whole numbers. For fewer than 100,000 cells a side that is what torch decides.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# Of a cell on the finest level, as a fraction of the image; it doubles from level to level.
_SIDE = 0.05
_LEAST, _MOST = 0.01, 0.99


def propose(memory: Tensor, sizes: Iterable[tuple[Any, Any]]) -> tuple[Tensor, Tensor]:
    """The encoder's memory (B, S, C), zero where no box is proposed, and boxes (B, S, 4).

    `sizes` are the levels' heights and widths, numbers or 0-d tensors. Boxes are cxcywh as
    logits of fractions of the image, infinite where none is proposed. Nothing may be padded.
    """
    boxes, valid = [], []
    for level, (height, width) in enumerate(sizes):
        (y, inside_y), (x, inside_x) = (_centres(cells, memory.device) for cells in (height, width))
        side = _SIDE * 2.0**level
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        sides = torch.full_like(columns, side)
        boxes.append(torch.stack([columns, rows, sides, sides], dim=-1).view(-1, 4))
        inside = (inside_y[:, None] & inside_x[None]).view(-1, 1)
        valid.append(inside if _LEAST < side < _MOST else torch.zeros_like(inside))
    fractions, proposed = torch.cat(boxes), torch.cat(valid)[None]
    logits = torch.log(fractions / (1 - fractions))[None].expand(memory.shape[0], -1, -1)
    return memory.masked_fill(~proposed, 0.0), logits.masked_fill(~proposed, torch.inf)


def _centres(
    cells: Any,  # noqa: ANN401 - int, or traced
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Where the centres of `cells` cells along a side are, and whether a box is proposed there."""
    numbers = torch.arange(cells, device=device)
    percent = 100 * numbers + 50  # of a cell, from the image's edge
    return (numbers + 0.5) / cells, (percent > cells) & (percent < 99 * cells)


def transformers_proposals(
    model: Any,  # noqa: ANN401
    memory: Tensor,
    _padding: Tensor,
    sizes: Iterable[tuple[Any, Any]],
) -> tuple[Tensor, Tensor]:
    """The method `generate_encoder_output_proposals` of transformers' models, for graphs."""
    kept, boxes = propose(memory, sizes)
    queries: Tensor = model.enc_output_norm(model.enc_output(kept))
    return queries, boxes
