"""The attention between the cells of an image and the tokens of a text, with fewer products.

It gives what the packages' own give but for rounding; tests hold it to it. Graphs for OpenVINO
and modules on GPUs have it in the place of the packages'.
"""

from typing import Any

import torch
from torch import Tensor, nn


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
