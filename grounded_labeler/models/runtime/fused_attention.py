"""The attentions of Grounding DINO's encoder and decoder, said otherwise for graphs on CPUs.

They give what the packages' own give but for rounding; tests hold them to it. Nothing may be
padded, and a graph takes one image at a time.
"""

from collections.abc import Sequence
from typing import Any

import torch
from groundingdino.models.GroundingDINO.ms_deform_attn import multi_scale_deformable_attn_pytorch
from openvino.frontend.pytorch.ts_decoder import InlineConversionExtension
from openvino.frontend.pytorch.utils import no_jit_trace
from torch import Tensor, nn
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


def package_text_image(
    attention: Any,  # noqa: ANN401
    v: Tensor,
    l: Tensor,  # noqa: E741 - the package's
    attention_mask_v: Tensor | None = None,
    attention_mask_l: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The package's `BiMultiHeadAttention.forward`."""
    return attend_both_ways(
        v, l, attention_mask_l, heads=attention.num_heads, **_projections(attention, "v", "l")
    )


def transformers_text_image(
    attention: Any,  # noqa: ANN401
    vision_features: Tensor,
    text_features: Tensor,
    vision_attention_mask: Tensor | None = None,
    text_attention_mask: Tensor | None = None,
) -> tuple[tuple[Tensor, None], tuple[Tensor, None]]:
    """The forward of transformers' `BiMultiHeadAttention`s; nobody reads their weights."""
    image, text = attend_both_ways(
        vision_features,
        text_features,
        text_attention_mask,
        heads=attention.num_heads,
        **_projections(attention, "vision", "text"),
    )
    return (image, None), (text, None)


def _projections(attention: Any, image: str, text: str) -> dict[str, nn.Linear]:  # noqa: ANN401
    """The six that `attend_both_ways` takes; `image` and `text` are what their names call both."""
    return {
        "image_query": getattr(attention, f"{image}_proj"),
        "text_key": getattr(attention, f"{text}_proj"),
        "image_value": getattr(attention, f"values_{image}_proj"),
        "text_value": getattr(attention, f"values_{text}_proj"),
        "image_out": getattr(attention, f"out_{image}_proj"),
        "text_out": getattr(attention, f"out_{text}_proj"),
    }


def attend_both_ways(
    image: Tensor,
    text: Tensor,
    is_padding: Tensor | None,
    *,
    heads: int,
    image_query: nn.Linear,
    text_key: nn.Linear,
    image_value: nn.Linear,
    text_value: nn.Linear,
    image_out: nn.Linear,
    text_out: nn.Linear,
) -> tuple[Tensor, Tensor]:
    """Let each cell of an image attend to all tokens, and each token to all cells.

    The packages project all S cells to queries and to values, H heads of 256 channels each, and
    what comes of them back. There are thousands of cells and a few tokens: so the projections are
    multiplied with the tokens instead, which is the same product in another order, and costs a
    tenth. With as many tokens as the model reads it costs no more than before.

    Args:
        image: the cells, float32 (B, S, C).
        text: the tokens, float32 (B, T, D).
        is_padding: bool (B, T), or None.
        heads: H.
        image_query: makes queries of cells.
        text_key: makes keys of tokens.
        image_value: makes what a token takes of cells.
        text_value: makes what a cell takes of tokens.
        image_out: brings what cells took back to (B, S, C).
        text_out: brings what tokens took back to (B, T, D).

    Returns:
        (B, S, C) and (B, T, D). The packages also subtract the highest score of all and clip at
        50,000 below it, which in float32 changes no softmax.
    """
    batch, tokens, _ = text.shape
    keys = _by_head(text_key(text), heads)  # (B, H, T, d)
    queries = image_query.weight.view(heads, -1, image.shape[2])  # (H, d, C)
    scale = queries.shape[1] ** -0.5
    folded = (keys @ queries * scale).flatten(1, 2)  # (B, H T, C)
    bias = (keys @ image_query.bias.view(heads, -1, 1) * scale).flatten(1)  # (B, H T)
    scores = image @ folded.transpose(1, 2) + bias[:, None]  # (B, S, H T)

    of_tokens = scores.transpose(1, 2).softmax(-1)  # (B, H T, S)
    seen = (of_tokens @ image).view(batch, heads, tokens, -1)  # (B, H, T, C)
    taken = seen @ image_value.weight.view(heads, -1, image.shape[2]).transpose(1, 2)
    by_token = taken.transpose(1, 2).flatten(2) + image_value.bias  # shares sum to 1

    by_cell = scores.view(batch, -1, heads, tokens)
    if is_padding is not None:
        by_cell = by_cell.masked_fill(is_padding[:, None, None], -torch.inf)
    of_cells = by_cell.softmax(-1).flatten(2)  # (B, S, H T)
    outs = image_out.weight.view(-1, heads, queries.shape[1]).permute(1, 2, 0)  # (H, d, C)
    given = (_by_head(text_value(text), heads) @ outs).flatten(1, 2)  # (B, H T, C)
    return of_cells @ given + image_out.bias, text_out(by_token)


def _by_head(tokens: Tensor, heads: int) -> Tensor:
    """(B, T, H d) to (B, H, T, d)."""
    batch, count, _ = tokens.shape
    return tokens.view(batch, count, heads, -1).transpose(1, 2)
