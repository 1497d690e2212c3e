"""The models' packages, so said that a GPU gets all its work without waiting for the host.

The packages look at numbers that only the device has, a size or whether anything is no number,
and copy small constants to it. At each such place the host waits until the device has done all
that it was given: 210 times in one run of a detector, which takes most of its time. CUDA graphs
(recorded.py) allow no such place. What is said otherwise here gives what the packages give but
for rounding; tests hold it to them. Nothing may be padded.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from groundingdino.models.GroundingDINO.fuse_modules import BiMultiHeadAttention
from groundingdino.models.GroundingDINO.ms_deform_attn import MultiScaleDeformableAttention
from torch import Tensor, nn
from torch.nn.functional import grid_sample
from torch.overrides import TorchFunctionMode

from grounded_labeler.models.runtime.text_image_attention import (
    package_text_image,
    transformers_text_image,
)

Sizes = Sequence[tuple[int, int]]  # heights and widths of the levels, in cells
# The names of the classes in transformers, each of which several families have.
_DEFORMABLE, _TEXT_IMAGE = "MultiscaleDeformableAttention", "BiMultiHeadAttention"


def without_waiting(module: nn.Module) -> nn.Module:
    """Replace, in this one `module`, the attentions that wait for the device; return it.

    It takes and returns what it did, but for the package's deformable attention, whose
    `spatial_shapes` must be `Sizes` from now on.
    """
    for part in module.modules():
        name = type(part).__name__
        if isinstance(part, MultiScaleDeformableAttention):
            part.forward = partial(_package_deformable, part)
        elif isinstance(part, BiMultiHeadAttention):
            part.forward = partial(_in_float32, package_text_image, part)
        elif name.endswith(_DEFORMABLE):
            part.forward = partial(_transformers_deformable, part)
        elif name.endswith(_TEXT_IMAGE):
            part.forward = partial(_in_float32, transformers_text_image, part)
    return module


class MadeOnDevice(TorchFunctionMode):
    """While open, small constants are made on the GPU that they are for, not copied to it.

    That is numbers and lists of sizes given to `torch.tensor` and `torch.as_tensor`. For the
    thread that opened it only.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Make what `function` would copy; call it if it copies nothing to a GPU."""
        options = dict(kwargs or {})
        device = torch.device(options.get("device") or "cpu")
        if function in (torch.tensor, torch.as_tensor) and device.type == "cuda" and args:
            made = _filled(args[0], options.get("dtype"), device)
            if made is not None:
                return made
        return function(*args, **options)


def _filled(data: Any, dtype: torch.dtype | None, device: torch.device) -> Tensor | None:  # noqa: ANN401
    """Make a tensor of a number, or of lists of numbers; None for anything else."""
    if isinstance(data, int | float):
        kind = dtype or (torch.long if isinstance(data, int) else torch.get_default_dtype())
        return torch.full((), data, dtype=kind, device=device)
    if isinstance(data, list | tuple) and data:
        parts = [_filled(one, dtype, device) for one in data]
        made = [part for part in parts if part is not None]
        return torch.stack(made) if len(made) == len(parts) else None
    return None


def _in_float32(forward: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """Compute `forward` of a module as it is, whatever autocast would make of it.

    Its scores are large: the packages clip them at 50,000, near the largest number of 16 bits.
    """
    given = [_widened(one) for one in args]
    named = {name: _widened(one) for name, one in kwargs.items()}
    device = next(module.parameters()).device.type
    with torch.autocast(device, enabled=False):
        return forward(module, *given, **named)


def _widened(value: Any) -> Any:  # noqa: ANN401
    is_float = isinstance(value, Tensor) and value.is_floating_point()
    return value.float() if is_float else value


def _package_deformable(
    attention: Any,  # noqa: ANN401
    *,
    query: Tensor,
    value: Tensor | None = None,
    query_pos: Tensor | None = None,
    reference_points: Tensor,
    spatial_shapes: Sizes,
    **_: object,
) -> Tensor:
    """The package's `MultiScaleDeformableAttention.forward`."""
    seen = query if value is None else value
    queries = query if query_pos is None else query + query_pos
    if not attention.batch_first:
        queries, seen = queries.transpose(0, 1), seen.transpose(0, 1)
    heads_points = attention.num_heads, attention.num_points
    answer = _attend(attention, heads_points, (queries, reference_points), seen, spatial_shapes)
    return answer if attention.batch_first else answer.transpose(0, 1)


def _transformers_deformable(
    attention: Any,  # noqa: ANN401
    *,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    position_embeddings: Tensor | None = None,
    reference_points: Tensor,
    spatial_shapes_list: Sizes,
    **_: object,
) -> tuple[Tensor, None]:
    """The forward of transformers' deformable attentions; nobody reads their weights."""
    queries = hidden_states if position_embeddings is None else hidden_states + position_embeddings
    heads_points = attention.n_heads, attention.n_points
    seen = encoder_hidden_states
    asking = queries, reference_points
    return _attend(attention, heads_points, asking, seen, spatial_shapes_list), None


def _attend(
    attention: Any,  # noqa: ANN401 - a module of any family
    heads_points: tuple[int, int],
    asking: tuple[Tensor, Tensor],
    seen: Tensor,
    sizes: Sizes,
) -> Tensor:
    """Deformable attention of queries to cells that are seen, (B, S, C): (B, Q, C).

    `asking` are the queries (B, Q, C) and where they are, (B, Q, L, 2 or 4): places or cxcywh as
    fractions of the image. One level's samples are summed up before the next level is sampled:
    together they are the largest tensor of the model.
    """
    queries, references = asking
    (batch, count, _), (heads, points) = queries.shape, heads_points
    shape = batch, count, heads, len(sizes), points
    offsets = attention.sampling_offsets(queries).view(*shape, 2)
    shares = attention.attention_weights(queries).view(*shape[:3], -1).softmax(-1).view(shape)
    cells = attention.value_proj(seen).transpose(1, 2)  # (B, C, S)
    attended: Tensor | None = None
    for level, values in enumerate(cells.split([high * wide for high, wide in sizes], 2)):
        places = _places(offsets[:, :, :, level], references[:, :, None, level], sizes[level])
        sampled = grid_sample(
            values.reshape(batch * heads, -1, *sizes[level]),
            (2 * places - 1).permute(0, 2, 3, 1, 4).flatten(0, 1),
            mode="bilinear", padding_mode="zeros", align_corners=False,
        )  # (B H, C / H, P, Q)  # fmt: skip
        share = shares[:, :, :, level].permute(0, 2, 3, 1).flatten(0, 1)  # (B H, P, Q)
        # With the queries last, neighbours in memory are summed up side by side.
        summed = (sampled * share[:, None]).sum(-2)
        attended = summed if attended is None else attended + summed
    if attended is None:
        raise ValueError("there are no levels to attend to")
    together: Tensor = attention.output_proj(attended.view(batch, -1, count).transpose(1, 2))
    return together


def _places(offsets: Tensor, references: Tensor, size: tuple[int, int]) -> Tensor:
    """Where a level is sampled, as fractions: (B, Q, H, P, 2), from `offsets` of that shape.

    `references` are (B, Q, 1, 2 or 4).
    """
    around = references[..., None, :2]
    if references.shape[-1] == 4:
        return around + offsets / offsets.shape[-2] * references[..., None, 2:] * 0.5
    height, width = size
    return around + torch.stack((offsets[..., 0] / width, offsets[..., 1] / height), -1)
