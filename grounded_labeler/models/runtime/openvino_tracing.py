"""What in the models' packages has to be said otherwise before a trace of it fits all sizes.

torch.jit.trace records what is done to tensors. Numbers that Python takes out of them,
or puts into them, become constants of the one size traced: right for that size only,
and no error for others. The places where Grounding DINO does that, in both packages:

- the sizes of the feature maps go into a tensor by torch.as_tensor,
- the package's Swin computes the mask of its shifted windows with numpy and slices,
- torch.special.logit has no counterpart in OpenVINO.

One is said otherwise because OpenVINO rounds otherwise: which cells propose boxes.

Two are said otherwise for their time and memory: deformable attention, and the attention between
cells and tokens (fused_attention.py, text_image_attention.py).
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
from groundingdino.models.GroundingDINO import fuse_modules, ms_deform_attn, transformer
from groundingdino.models.GroundingDINO.backbone.swin_transformer import BasicLayer
from torch import Tensor
from transformers.models.grounding_dino import modeling_grounding_dino
from transformers.models.mm_grounding_dino import modeling_mm_grounding_dino

from grounded_labeler.models.runtime.fused_attention import (
    package_deformable,
    package_layer,
    transformers_deformable,
    transformers_layer,
)
from grounded_labeler.models.runtime.proposals import transformers_proposals
from grounded_labeler.models.runtime.text_image_attention import (
    package_text_image,
    transformers_text_image,
)

_as_tensor = torch.as_tensor
# Of both packages: what is replaced, whose it is, and by what.
_REPLACED: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    (ms_deform_attn.MultiScaleDeformableAttention, "forward", package_deformable),
    (transformer.DeformableTransformerEncoderLayer, "forward", package_layer),
    (fuse_modules.BiMultiHeadAttention, "forward", package_text_image),
    *(
        replaced
        for module, family in (
            (modeling_grounding_dino, "GroundingDino"),
            (modeling_mm_grounding_dino, "MMGroundingDino"),
        )
        for replaced in (
            (
                getattr(module, f"{family}Model"),
                "generate_encoder_output_proposals",
                transformers_proposals,
            ),
            (
                getattr(module, f"{family}MultiscaleDeformableAttention"),
                "forward",
                transformers_deformable,
            ),
            (getattr(module, f"{family}DeformableLayer"), "forward", transformers_layer),
            (getattr(module, f"{family}BiMultiHeadAttention"), "forward", transformers_text_image),
        )
    ),
)


@contextmanager
def traceable() -> Iterator[None]:
    """While open, the models compute the same, but so that a trace of it fits all sizes.

    Replaces functions of torch and the package for the whole process: for export only.
    """
    with (
        # Each remark was looked into; the tests hold the graphs to what torch computes.
        warnings.catch_warnings(action="ignore"),
        torch.no_grad(),
        mock.patch.object(torch, "as_tensor", _sizes_as_tensor),
        mock.patch.object(torch.special, "logit", _logit),
        # Checked, a trace runs four times as often and twice at once. It keeps every tensor it
        # sees until its end: gigabytes. The tests hold the graphs to what torch computes.
        mock.patch.object(torch.jit, "trace", partial(torch.jit.trace, check_trace=False)),
        mock.patch.object(BasicLayer, "forward", _swin_stage),
        ExitStack() as replaced,
    ):
        for owner, name, replacement in _REPLACED:
            replaced.enter_context(mock.patch.object(owner, name, replacement))
        yield


def _sizes_as_tensor(data: Any, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401 - torch's
    """torch.as_tensor; of a list of (height, width) in a trace, still what they came from."""
    if isinstance(data, list) and data and isinstance(data[0], tuple):
        return torch.stack([torch.stack([_as_tensor(side) for side in pair]) for pair in data])
    return _as_tensor(data, *args, **kwargs)


def _logit(values: Tensor, eps: float | None = None) -> Tensor:
    clamped = values if eps is None else values.clamp(eps, 1 - eps)
    return torch.log(clamped / (1 - clamped))


def _swin_stage(
    stage: Any,  # noqa: ANN401
    tokens: Tensor,
    height: Any,  # noqa: ANN401
    width: Any,  # noqa: ANN401
) -> tuple[Tensor, Any, Any, Tensor, Any, Any]:
    """BasicLayer.forward with the mask of its shifted windows computed from traced sizes.

    Two cells of a window see each other only when they were neighbours before the shift:
    each is given the number of the part, of three by three, that it was in.
    """
    side, shift = stage.window_size, stage.shift_size
    down, across = (height + side - 1) // side, (width + side - 1) // side
    rows, columns = (
        _part_numbers(down * side, side, shift),
        _part_numbers(across * side, side, shift),
    )
    windows = (rows[:, None] * 3 + columns[None]).view(down, side, across, side)
    windows = windows.transpose(1, 2).reshape(-1, side * side)
    # -100 is what the package adds to the logits of cells that must not see each other.
    mask = (windows[:, None] != windows[:, :, None]).to(tokens.dtype) * -100.0
    for block in stage.blocks:
        block.H, block.W = height, width
        tokens = block(tokens, mask)
    if stage.downsample is None:
        return tokens, height, width, tokens, height, width
    below = stage.downsample(tokens, height, width)
    return tokens, height, width, below, (height + 1) // 2, (width + 1) // 2


def _part_numbers(length: Any, side: int, shift: int) -> Tensor:  # noqa: ANN401 - int, or traced
    cells = torch.arange(length)
    numbers: Tensor = (cells >= length - side).long() + (cells >= length - shift).long()
    return numbers
