"""The models' packages, so said that a GPU gets all its work without waiting for the host.

The packages look at numbers that only the device has, a size or whether anything is no number,
and copy small constants to it. At each such place the host waits until the device has done all
that it was given: 210 times in one run of a detector, which takes most of its time. CUDA graphs
(recorded.py) allow no such place. What is said otherwise here gives what the packages give but
for rounding; tests hold it to them. Nothing may be padded.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from groundingdino.models.GroundingDINO.fuse_modules import BiMultiHeadAttention
from groundingdino.models.GroundingDINO.ms_deform_attn import MultiScaleDeformableAttention
from torch import Tensor, nn
from torch.nn.functional import embedding_bag
from torch.overrides import TorchFunctionMode

from grounded_labeler.models.runtime.text_image_attention import (
    package_text_image,
    transformers_text_image,
)

Sizes = Sequence[tuple[int, int]]  # heights and widths of the levels, in cells


def without_waiting(module: nn.Module) -> nn.Module:
    """Replace, in this one `module`, the attentions that wait for the device; return it.

    It takes and returns what it did, but for the package's deformable attention, whose
    `spatial_shapes` must be `Sizes` from now on.
    """
    for part in module.modules():
        kind = type(part)
        forward = next((new for is_one, new in _REPLACED if is_one(kind)), None)
        if forward is not None:
            # A class, not a function of this one part: that would hold what holds it.
            part.__class__ = type(f"{kind.__name__}WithoutWaiting", (kind,), {"forward": forward})
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
        makes = function in (torch.tensor, torch.as_tensor) and device.type == "cuda"
        if makes and args and _is_constant(args[0]):
            return _filled(args[0], options.get("dtype"), device)
        return function(*args, **options)


def _is_constant(data: Any) -> bool:  # noqa: ANN401
    """Tell whether `data` is a number, or lists of numbers."""
    if isinstance(data, list | tuple):
        return bool(data) and all(map(_is_constant, data))
    return isinstance(data, int | float)


def _filled(data: Any, dtype: torch.dtype | None, device: torch.device) -> Tensor:  # noqa: ANN401
    """Make a tensor of a number, or of lists of them as long as each other, on `device`."""
    if isinstance(data, list | tuple):
        return torch.stack([_filled(one, dtype, device) for one in data])
    kind = dtype or (torch.long if isinstance(data, int) else torch.get_default_dtype())
    return torch.full((), data, dtype=kind, device=device)


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
    fractions of the image. As in graphs for CPUs (point_sampling.py), the four cells beside each
    point are a bag, summed up where they are read: the packages make a tensor of all samples,
    which is larger than any other of the model, three times.
    """
    queries, references = asking
    (batch, count, _), (heads, points) = queries.shape, heads_points
    shape = batch, count, heads, len(sizes), points
    offsets = attention.sampling_offsets(queries).view(*shape, 2).float()
    shares = attention.attention_weights(queries).view(*shape[:3], -1).float().softmax(-1)
    cells = attention.value_proj(seen).float()
    starts = accumulate((high * wide for high, wide in sizes), initial=0)
    levels = _filled(
        [[wide, high, start] for (high, wide), start in zip(sizes, starts, strict=False)],
        torch.float32,
        queries.device,
    )
    places = _places(offsets, references[:, :, None, :, None], levels[:, None, :2])
    rows, weights = _bags(places, shares.view(shape), levels)
    first, head = (
        torch.arange(many, dtype=torch.int32, device=queries.device) for many in (batch, heads)
    )
    numbers = (first.view(-1, 1, 1, 1) * cells.shape[1] + rows) * heads + head[:, None]
    summed = embedding_bag(
        numbers.flatten(0, 2),
        cells.reshape(batch * cells.shape[1] * heads, -1),
        per_sample_weights=weights.flatten(0, 2),
        mode="sum",
    )
    attended: Tensor = attention.output_proj(summed.view(batch, count, -1))
    return attended


def _places(offsets: Tensor, references: Tensor, size_wh: Tensor) -> Tensor:
    """Where each level is sampled, in cells, from `offsets` (B, Q, H, L, P, 2) of that shape.

    `references` are (B, Q, 1, L, 1, 2 or 4), `size_wh` (L, 1, 2). The centre of the first cell is
    at 0.
    """
    centres = references[..., :2] * size_wh - 0.5
    if references.shape[-1] == 4:
        reach = references[..., 2:] * size_wh * (0.5 / offsets.shape[-2])
        return centres + offsets * reach
    return centres + offsets


def _bags(places: Tensor, shares: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Which cells each head of a query reads, and with what weights: (B, Q, H, 4 L P) each.

    Args:
        places: of points, in cells of their level, (B, Q, H, L, P, 2).
        shares: of points in the sum, (B, Q, H, L, P).
        levels: the width and the height of each, and the number of its first cell, (L, 3).

    Returns:
        int32 numbers of cells, those of all levels counted on, and float32 weights, 0 for those
        outside.
    """
    wide, high, start = levels[:, None].unbind(-1)
    before = places.floor()
    (left, top), (across, down) = before.unbind(-1), (places - before).unbind(-1)
    rows, weights = [], []
    for y, by_row in ((top, 1 - down), (top + 1, down)):
        for x, by_column in ((left, 1 - across), (left + 1, across)):
            is_inside = (x >= 0) & (x < wide) & (y >= 0) & (y < high)
            weights.append((by_row * by_column * shares).where(is_inside, 0.0))
            # Counted in float32, exact up to 2 ** 24.
            rows.append((y * wide + x + start).where(is_inside, 0.0))
    return torch.stack(rows, -1).flatten(3).int(), torch.stack(weights, -1).flatten(3)


def _is(package: type[nn.Module]) -> Callable[[type[nn.Module]], bool]:
    return lambda kind: kind is package


def _is_called(name: str) -> Callable[[type[nn.Module]], bool]:
    """Tell classes of transformers, of which each family has its own."""
    return lambda kind: kind.__name__.endswith(name)


_REPLACED: Sequence[tuple[Callable[[type[nn.Module]], bool], Callable[..., Any]]] = (
    (_is(MultiScaleDeformableAttention), _package_deformable),
    (_is(BiMultiHeadAttention), package_text_image),
    (_is_called("MultiscaleDeformableAttention"), _transformers_deformable),
    (_is_called("BiMultiHeadAttention"), transformers_text_image),
)
