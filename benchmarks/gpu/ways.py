"""Ways to compute an encoder of fixed shapes: the service's own, and others beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from grounded_labeler.models.runtime.device import Precision
from grounded_labeler.models.runtime.pytorch import lower_precision, store_in

Tensors = tuple[Tensor, ...]
Encode = Callable[[Tensor], Tensors]

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
WARM_UPS = 3


@dataclass(frozen=True, eq=False)
class Encoder:
    """An encoder to measure: `make` loads it on the CPU, `pixels` is what it is given."""

    name: str
    make: Callable[[], nn.Module]
    pixels: Tensor


Way = Callable[[Encoder, str, Precision], Encode]


def difference(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Return the root mean square of what differs, beside that of `other`; the worst level's."""
    return max(
        float((a.float() - b.float()).norm() / b.float().norm())
        for a, b in zip(one, other, strict=True)
    )


def plain(encoder: Encoder, device: str, precision: Precision) -> Encode:
    """Kernel by kernel: weights in float32, by autocast in lower precision."""
    return _runner(encoder.make().eval().to(device), device, precision)


def half_weights(encoder: Encoder, device: str, precision: Precision) -> Encode:
    """The weights of wide layers stored as autocast would cast them, as the service has them."""
    module = encoder.make().eval()
    store_in(DTYPES[precision], module)
    return _runner(module.to(device), device, precision)


def channels_last(encoder: Encoder, device: str, precision: Precision) -> Encode:
    """Channels beside each other in memory, as convolutions of half precision read them."""
    last = torch.channels_last
    module = encoder.make().eval().to(device).to(memory_format=last)
    run = _runner(module, device, precision)
    return lambda pixels: run(pixels.contiguous(memory_format=last))


def with_tf32(encoder: Encoder, device: str, precision: Precision) -> Encode:
    """Products of float32 in TensorFloat-32, with 10 bits of mantissa."""
    run = plain(encoder, device, precision)

    def encode(pixels: Tensor) -> Tensors:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            return run(pixels)
        finally:
            torch.set_float32_matmul_precision(before)

    return encode


def cuda_graph(way: Way, encoder: Encoder, device: str, precision: Precision) -> Encode:
    """All kernels of `way` recorded once, and launched together."""
    run = way(encoder, device, precision)
    given = encoder.pixels.to(device)
    stream: Any = torch.cuda.Stream  # has no types
    side = stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            run(given)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run(given)

    # The graph reads the weights where they are: `run` holds them.
    return partial(_replay, graph, run, given, outputs)


def _replay(
    graph: Any,  # noqa: ANN401 - has no types
    _: Encode,
    given: Tensor,
    outputs: Tensors,
    pixels: Tensor,
) -> Tensors:
    given.copy_(pixels)
    graph.replay()
    return tuple(out.clone() for out in outputs)


def compiled(mode: str, encoder: Encoder, device: str, precision: Precision) -> Encode:
    """By torch.compile, for the one shape."""
    module = torch.compile(encoder.make().eval().to(device), mode=mode, dynamic=False)
    run = _runner(module, device, precision)
    return lambda pixels: tuple(out.clone() for out in run(pixels))


def _runner(module: Callable[[Tensor], Tensors], device: str, precision: Precision) -> Encode:
    def run(pixels: Tensor) -> Tensors:
        with torch.inference_mode(), lower_precision(device, precision):
            return tuple(out.float() for out in module(pixels))

    return run
