"""What a promptable segmenter is made of: two graphs, and the numbers around them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grounded_labeler.models.runtime.graph import SubModel, Tensors
from grounded_labeler.models.segmenters.geometry import Geometry

# Kinds of points, as the prompt encoders of SAM and SAM 2 number them; 0 is off the object
# and 1 on it.
NO_POINT = -1
CORNERS = (2, 3)

RGB = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Architecture:
    """A model that masks are decoded with, from an image encoded once and prompts.

    Attributes:
        parts: two submodels. "encoder", of fixed shapes, takes normalised pixels, float32
            (1, 3, S, S), and returns one or more levels of features. "decoder", of dynamic
            shapes, takes those levels, then the prompts of N objects: points float32 (N, P, 2)
            xy in pixels of the square, their kinds int64 (N, P), the logits (N, 1, h, w) of
            the prompts before, and float32 (1,) that is 0 where there are none. It returns
            logits (N, 4, h, w), of the single mask first and then of the three that one
            ambiguous point may mean, and the model's guesses at their IoU (N, 4).
        geometry: where the image lies in the square of side S.
        mean: of each channel, for pixels from 0 to 255.
        deviation: the standard deviation of each channel, likewise.
        grid_hw: the size of the logits.
        threshold: the logit above which a pixel belongs to the object.
        box_kinds: what follows the points of an object with a box: its corners, and what else
            the model was trained with.
    """

    parts: Mapping[str, SubModel]
    geometry: Geometry
    mean: RGB
    deviation: RGB
    grid_hw: tuple[int, int]
    threshold: float = 0.0
    box_kinds: tuple[int, ...] = CORNERS


def traced_prompts(side: int, grid_hw: tuple[int, int], kinds: Sequence[int]) -> Tensors:
    """Make what follows the levels in a decoder's inputs, to trace it with: 3 objects' prompts.

    The arguments are those of `Architecture`; `kinds` are the kinds of each object's points.
    """
    points = torch.rand(3, len(kinds), 2) * side
    return points, torch.tensor([list(kinds)] * 3), torch.randn(3, 1, *grid_hw), torch.ones(1)


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
