"""What a promptable segmenter is made of in torch: two modules, and the facts about them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grounded_labeler.models.runtime.graph import SubModel, Tensors
from grounded_labeler.models.segmenters.facts import NO_POINT, SegmenterFacts


@dataclass(frozen=True, eq=False)
class Architecture:
    """A model that masks are decoded with, from an image encoded once and prompts.

    Attributes:
        parts: two submodels. "encoder", of fixed shapes, takes normalised pixels, float32
            (1, 3, S, S), and returns one or more levels of features. "decoder", of dynamic
            shapes, takes those levels, then the prompts of N objects: points float32 (N, P, 2)
            xy in pixels of the square, their kinds int64 (N, P), the logits (1, 1, h, w) that
            the prompts before gave, and float32 (1,) that is 0 where there are none. It returns
            logits (N, 4, h, w), of the single mask first and then of the three that one
            ambiguous point may mean, and the model's guesses at their IoU (N, 4).
        facts: the numbers around them.
    """

    parts: Mapping[str, SubModel]
    facts: SegmenterFacts


def traced_prompts(side: int, grid_hw: tuple[int, int], kinds: Sequence[int]) -> Tensors:
    """Make what follows the levels in a decoder's inputs, to trace it with: 3 objects' prompts.

    The arguments are those of `SegmenterFacts`; `kinds` are the kinds of each object's points.
    """
    points = torch.rand(3, len(kinds), 2) * side
    return points, torch.tensor([list(kinds)] * 3), torch.randn(1, 1, *grid_hw), torch.ones(1)


def embed_points(
    points: Tensor,
    kinds: Tensor,
    side: int,
    *,
    encode_positions: Callable[[Tensor], Tensor],
    no_point: Tensor,
    kind_embeddings: Sequence[Tensor],
) -> Tensor:
    """Embed points and corners of boxes by sums that a graph can hold.

    Args:
        points: float32 (N, P, 2), xy in pixels of the square.
        kinds: int64 (N, P), NO_POINT or an index of `kind_embeddings`.
        side: the square's side in pixels.
        encode_positions: encodes float32 (N, P, 2), fractions of the square, as (N, P, C).
        no_point: (1, C), the embedding of NO_POINT.
        kind_embeddings: (C,) or (1, C) for each kind of point.

    Returns:
        float32 (N, P, C).
    """
    kind = kinds[..., None]
    # 16 bits would move points by pixels.
    with torch.autocast(points.device.type, enabled=False):
        embedded = encode_positions((points + 0.5) / side)
    embedded = embedded * (kind != NO_POINT) + no_point * (kind == NO_POINT)
    for number, own in enumerate(kind_embeddings):
        embedded = embedded + own * (kind == number)
    return embedded
