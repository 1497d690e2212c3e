"""The layers of Grounding DINO's encoder and the attentions of its decoder, for graphs on CPUs.

They give what the packages' own give but for rounding; tests hold them to it. Nothing may be
padded, and a graph takes one image at a time.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from groundingdino.models.GroundingDINO.ms_deform_attn import multi_scale_deformable_attn_pytorch
from openvino.frontend.pytorch.ts_decoder import InlineConversionExtension
from openvino.frontend.pytorch.utils import no_jit_trace
from torch import Tensor, nn
from torch.nn.functional import linear

from grounded_labeler.models.runtime.in_blocks import in_blocks
from grounded_labeler.models.runtime.point_sampling import Sampling, sampling_graph

Activation: TypeAlias = Callable[[Tensor], Tensor]


class _Sample(nn.Module):
    """Deformable attention of rows of queries (R, C) at places (R, 2 or 4): (R, C)."""

    def __init__(self, attention: Any, sampling: Sampling) -> None:  # noqa: ANN401 - of any family
        super().__init__()
        self.attention, self._sampler = attention, _sampler(sampling)
        self.planning = _planning(attention, sampling, "weight").flatten(0, -2)
        self.bias = _planning(attention, sampling, "bias").flatten()

    def forward(self, queries: Tensor, places: Tensor, *seen: Tensor) -> Tensor:
        """`seen` is what `_seen` returns of all cells."""
        plan = linear(queries, self.planning, self.bias)
        attended: Tensor = self.attention.output_proj(self._sampler.apply(plan, places, *seen))
        return attended


class _FeedForward(nn.Module):
    """Two linear layers and what is between them."""

    def __init__(self, first: nn.Module, activate: Activation, second: nn.Module) -> None:
        super().__init__()
        self.first, self._activate, self.second = first, activate, second

    def forward(self, rows: Tensor) -> Tensor:
        out: Tensor = self.second(self._activate(self.first(rows)))
        return out


class _EncoderLayer(nn.Module):
    """What a layer of the encoder makes of rows of cells (R, C): (R, C)."""

    def __init__(
        self, sample: _Sample, norm: nn.Module, feed_forward: _FeedForward, last_norm: nn.Module
    ) -> None:
        super().__init__()
        self.sample, self.feed_forward = sample, feed_forward
        self.norm, self.last_norm = norm, last_norm

    def forward(self, cells: Tensor, positions: Tensor, places: Tensor, *seen: Tensor) -> Tensor:
        """`seen` is what `_seen` returns of all cells."""
        attended = self.norm(cells + self.sample(cells + positions, places, *seen))
        out: Tensor = self.last_norm(attended + self.feed_forward(attended))
        return out


def _planning(attention: Any, sampling: Sampling, name: str) -> Tensor:  # noqa: ANN401
    """The weights or biases of what says where a query looks, in the order of `sampling_graph`."""
    offsets = getattr(attention.sampling_offsets, name)
    rows = offsets.reshape(sampling.heads * sampling.each, 2, *offsets.shape[1:])
    return torch.cat((*rows.unbind(1), getattr(attention.attention_weights, name)))


def _seen(
    attention: Any,  # noqa: ANN401
    sampling: Sampling,
    cells: Tensor,
    sizes: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The last three that `sampling_graph` takes, of cells (1, S, C) and sizes (L, 2) of levels."""
    return of_values(sampling, attention.value_proj(cells), sizes)


def of_values(sampling: Sampling, values: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The last three that `sampling_graph` takes.

    Args:
        sampling: how often is sampled.
        values: float32 (1, S, C), the cells of all levels, row by row.
        sizes: integers (L, 2), the levels' heights and widths in cells.
    """
    rows, counts = values.view(-1, sampling.heads, sampling.depth), sizes.prod(1)
    starts, head = counts.cumsum(0) - counts, torch.arange(sampling.heads)[:, None]
    if sampling.by_head:
        rows, starts = rows.transpose(0, 1), starts + head * counts.sum()
    else:
        starts = starts * sampling.heads + head
    of_levels = torch.cat((sizes.flip(1).T, starts)).float()
    by_point = of_levels[..., None].expand(-1, -1, sampling.points).flatten(1)
    return rows.flatten(0, 1), by_point[:2], by_point[2:]


def _sampler(sampling: Sampling) -> Any:  # noqa: ANN401 - a subclass of Function
    """Return what torch runs while it traces, and OpenVINO replaces by `sampling_graph`."""

    class Sampler(torch.autograd.Function):
        target_extension = InlineConversionExtension()

        @staticmethod
        def forward(
            _: object, plan: Tensor, places: Tensor, rows: Tensor, sizes: Tensor, starts: Tensor
        ) -> Tensor:
            with no_jit_trace():
                return sampled_by_torch(sampling, plan, places, rows, sizes)

        @classmethod
        def convert(cls, context: Any) -> Sequence[Any]:  # noqa: ANN401
            plan, places, *seen = (context.get_input(place) for place in range(5))
            outputs: Sequence[Any] = sampling_graph(sampling, plan, places, seen).outputs()
            return outputs

    return Sampler


def sampled_by_torch(
    sampling: Sampling, plan: Tensor, places: Tensor, rows: Tensor, sizes: Tensor
) -> Tensor:
    """What `sampling_graph` computes, by the package's own function."""
    heads, levels, points = sampling.heads, sampling.levels, sampling.points
    across, down, logits = plan.view(1, -1, 3, heads, levels, points).unbind(2)
    shares = logits.flatten(-2).softmax(-1).view_as(logits)
    offsets = torch.stack((across, down), -1)
    widths_heights = sizes[:, ::points].T
    centres = places[None, :, None, None, None, :2]
    if sampling.coordinates == 2:
        locations = centres + offsets / widths_heights[:, None]
    else:
        locations = centres + offsets / points * places[None, :, None, None, None, 2:] * 0.5
    split = rows.view(heads, -1, sampling.depth).transpose(0, 1)
    if not sampling.by_head:
        split = rows.view(-1, heads, sampling.depth)
    shapes = [(int(height), int(width)) for width, height in widths_heights]
    attended: Tensor = multi_scale_deformable_attn_pytorch(split[None], shapes, locations, shares)
    return attended[0]


def _sampling(
    attention: Any,  # noqa: ANN401
    numbers: tuple[int, int, int],
    references: Tensor,
    *,
    by_head: bool,
) -> Sampling:
    """`numbers` are those of heads, levels and points."""
    channels = attention.value_proj.out_features
    return Sampling(*numbers, channels, int(references.shape[-1]), by_head)


def _attend(
    attention: Any,  # noqa: ANN401
    numbers: tuple[int, int, int],
    *,
    queries: Tensor,
    seen: Tensor,
    references: Tensor,
    sizes: Tensor,
) -> Tensor:
    """Deformable attention of queries (1, Q, C) to cells that are seen (1, S, C): (1, Q, C).

    `references` are (1, Q, L, 2 or 4), the same on every level, as it is where no image is padded;
    `sizes` (L, 2).
    """
    sampling = _sampling(attention, numbers, references, by_head=False)
    rows = (queries[0], references[0, :, 0])
    whole = _seen(attention, sampling, seen, sizes)
    return in_blocks(_Sample(attention, sampling), rows, whole)[None]


def package_deformable(
    attention: Any,  # noqa: ANN401
    *,
    query: Tensor,
    value: Tensor | None = None,
    query_pos: Tensor | None = None,
    reference_points: Tensor,
    spatial_shapes: Tensor,
    **_: object,
) -> Tensor:
    """The package's `MultiScaleDeformableAttention.forward`."""
    seen = query if value is None else value
    queries = query if query_pos is None else query + query_pos
    if not attention.batch_first:
        queries, seen = queries.transpose(0, 1), seen.transpose(0, 1)
    answer = _attend(
        attention,
        _package_numbers(attention),
        queries=queries,
        seen=seen,
        references=reference_points,
        sizes=spatial_shapes,
    )
    return answer if attention.batch_first else answer.transpose(0, 1)


def transformers_deformable(
    attention: Any,  # noqa: ANN401
    *,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    position_embeddings: Tensor | None = None,
    reference_points: Tensor,
    spatial_shapes: Tensor,
    **_: object,
) -> tuple[Tensor, None]:
    """The forward of transformers' deformable attentions; nobody reads their weights."""
    queries = hidden_states if position_embeddings is None else hidden_states + position_embeddings
    answer = _attend(
        attention,
        _transformers_numbers(attention),
        queries=queries,
        seen=encoder_hidden_states,
        references=reference_points,
        sizes=spatial_shapes,
    )
    return answer, None


def _package_numbers(attention: Any) -> tuple[int, int, int]:  # noqa: ANN401
    return attention.num_heads, attention.num_levels, attention.num_points


def _transformers_numbers(attention: Any) -> tuple[int, int, int]:  # noqa: ANN401
    return attention.n_heads, attention.n_levels, attention.n_points


def package_layer(
    layer: Any,  # noqa: ANN401
    src: Tensor,
    pos: Tensor,
    reference_points: Tensor,
    spatial_shapes: Tensor,
    **_: object,
) -> Tensor:
    """The package's `DeformableTransformerEncoderLayer.forward`."""
    attention = layer.self_attn
    numbers = _package_numbers(attention)
    sampling = _sampling(attention, numbers, reference_points, by_head=True)
    of_rows = _EncoderLayer(
        _Sample(attention, sampling),
        layer.norm1,
        _FeedForward(layer.linear1, layer.activation, layer.linear2),
        layer.norm2,
    )
    rows = (src[0], pos[0], reference_points[0, :, 0])
    return in_blocks(of_rows, rows, _seen(attention, sampling, src, spatial_shapes))[None]


def transformers_layer(
    layer: Any,  # noqa: ANN401
    hidden_states: Tensor,
    *,
    position_embeddings: Tensor,
    reference_points: Tensor,
    spatial_shapes: Tensor,
    **_: object,
) -> tuple[Tensor, None]:
    """The forward of transformers' `DeformableLayer`s; nobody reads their attention's weights."""
    attention = layer.self_attn
    sampling = _sampling(
        attention, _transformers_numbers(attention), reference_points, by_head=True
    )
    of_rows = _EncoderLayer(
        _Sample(attention, sampling),
        layer.self_attn_layer_norm,
        _FeedForward(layer.fc1, layer.activation_fn, layer.fc2),
        layer.final_layer_norm,
    )
    rows = (hidden_states[0], position_embeddings[0], reference_points[0, :, 0])
    whole = _seen(attention, sampling, hidden_states, spatial_shapes)
    return in_blocks(of_rows, rows, whole)[None], None
