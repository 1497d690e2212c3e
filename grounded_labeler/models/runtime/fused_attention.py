"""The deformable attention of Grounding DINO, said otherwise for graphs on CPUs.

It gives what the packages' own gives but for rounding; tests hold it to it. Nothing may be
padded, and a graph takes one image at a time.
"""

from collections.abc import Sequence
from typing import Any

import torch
from groundingdino.models.GroundingDINO.ms_deform_attn import multi_scale_deformable_attn_pytorch
from openvino.frontend.pytorch.ts_decoder import InlineConversionExtension
from openvino.frontend.pytorch.utils import no_jit_trace
from torch import Tensor
from torch.nn.functional import linear

from grounded_labeler.models.runtime.point_sampling import Sampling, sampling_graph


def sample(
    attention: Any,  # noqa: ANN401 - a module of any family
    heads_levels_points: tuple[int, int, int],
    *,
    queries: Tensor,
    seen: Tensor,
    references: Tensor,
    sizes: Tensor,
) -> Tensor:
    """Deformable attention of queries (1, Q, C) to cells that are seen (1, S, C): (1, Q, C).

    `references` are (1, Q, L, 2 or 4), `sizes` (L, 2).
    """
    values = attention.value_proj(seen)
    sampling = Sampling(*heads_levels_points, int(values.shape[-1]), int(references.shape[-1]))
    weights = _planning(attention, sampling, "weight").flatten(0, -2)
    plan = linear(queries, weights, _planning(attention, sampling, "bias").flatten())
    attended: Tensor = attention.output_proj(
        _sampler(sampling).apply(plan, values, references, sizes)
    )
    return attended


def _planning(attention: Any, sampling: Sampling, name: str) -> Tensor:  # noqa: ANN401
    """The weights or biases of what says where a query looks, in the order of `sampling_graph`."""
    offsets = getattr(attention.sampling_offsets, name)
    rows = offsets.reshape(sampling.heads * sampling.each, 2, *offsets.shape[1:])
    return torch.cat((*rows.unbind(1), getattr(attention.attention_weights, name)))


def _sampler(sampling: Sampling) -> Any:  # noqa: ANN401 - a subclass of Function
    """Return what torch runs while it traces, and OpenVINO replaces by `sampling_graph`."""

    class Sampler(torch.autograd.Function):
        target_extension = InlineConversionExtension()

        @staticmethod
        def forward(
            _: object, plan: Tensor, values: Tensor, references: Tensor, sizes: Tensor
        ) -> Tensor:
            with no_jit_trace():
                return sampled_by_torch(sampling, plan, values, references, sizes)

        @classmethod
        def convert(cls, context: Any) -> Sequence[Any]:  # noqa: ANN401
            inputs = [context.get_input(place) for place in range(4)]
            outputs: Sequence[Any] = sampling_graph(sampling, *inputs).outputs()
            return outputs

    return Sampler


def sampled_by_torch(
    sampling: Sampling, plan: Tensor, values: Tensor, references: Tensor, sizes: Tensor
) -> Tensor:
    """What `sampling_graph` computes, by the package's own function; B images."""
    batch, count, _ = plan.shape
    heads, levels, points = sampling.heads, sampling.levels, sampling.points
    across, down, logits = plan.view(batch, count, 3, heads, levels, points).unbind(2)
    shares = logits.flatten(-2).softmax(-1).view_as(logits)
    offsets = torch.stack((across, down), -1)
    places = references[:, :, None, :, None, :2]
    if references.shape[-1] == 2:
        locations = places + offsets / sizes.flip(-1)[None, None, None, :, None]
    else:
        locations = places + offsets / points * references[:, :, None, :, None, 2:] * 0.5
    split = values.view(batch, values.shape[1], heads, -1)
    shapes = [(int(height), int(width)) for height, width in sizes]
    attended: Tensor = multi_scale_deformable_attn_pytorch(split, shapes, locations, shares)
    return attended


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
    answer = sample(
        attention,
        (attention.num_heads, attention.num_levels, attention.num_points),
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
    answer = sample(
        attention,
        (attention.n_heads, attention.n_levels, attention.n_points),
        queries=queries,
        seen=encoder_hidden_states,
        references=reference_points,
        sizes=spatial_shapes,
    )
    return answer, None
