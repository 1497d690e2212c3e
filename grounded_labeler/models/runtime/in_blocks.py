"""Modules computed over blocks of rows, in a loop of the graph.

What a module makes of a block on the way to its output stays in a processor's cache, and no more of
it than that of one block is ever held.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
import torch
from openvino import opset15 as ops
from openvino.frontend.pytorch.ts_decoder import InlineConversionExtension
from openvino.frontend.pytorch.utils import no_jit_trace
from torch import Tensor, nn

# Of the cells of an image. What the encoder's hidden layer makes of so many is 4 MB; the numbers
# of the points that so many sample fit into an L2 cache of 1 MiB twice.
ROWS_AT_ONCE = 512

Node = Any  # OpenVINO's graphs come without usable types


def in_blocks(module: nn.Module, rows: Sequence[Tensor], whole: Sequence[Tensor]) -> Tensor:
    """Return `module(*rows, *whole)`, which a graph computes for ROWS_AT_ONCE rows at a time.

    Args:
        module: makes each row of its output, float32 (R, D), of the same row of each of `rows`. In
            a graph it always gets ROWS_AT_ONCE of them.
        rows: float32 (R, any).
        whole: what every block takes all of.
    """
    out: Tensor = _looped(module, rows, whole).apply(*rows, *whole)
    return out


def _looped(module: nn.Module, rows: Sequence[Tensor], whole: Sequence[Tensor]) -> Any:  # noqa: ANN401
    """Return what torch runs while it traces, and OpenVINO replaces by a loop."""

    class Looped(torch.autograd.Function):
        target_extension = InlineConversionExtension()

        @staticmethod
        def forward(_: object, *inputs: Tensor) -> Tensor:
            with no_jit_trace():
                out: Tensor = module(*inputs)
            return out

        @classmethod
        def convert(cls, context: Any) -> Sequence[Any]:  # noqa: ANN401
            # Not ahead of it: while torch traces, sizes are tensors.
            block = [torch.zeros(ROWS_AT_ONCE, one.shape[1]) for one in rows]
            shapes = [list(one.shape) for one in block] + [[-1] * one.dim() for one in whole]
            body = openvino.convert_model(
                module,
                example_input=(*block, *whole),
                input=[openvino.PartialShape(shape) for shape in shapes],
            )
            inputs = [context.get_input(place) for place in range(len(shapes))]
            return [_loop(body, inputs[: len(rows)], inputs[len(rows) :])]

    return Looped


def _loop(body: openvino.Model, rows: Sequence[Node], whole: Sequence[Node]) -> Node:
    """Return the output of `body` for all of `rows`, ROWS_AT_ONCE at a time."""
    loop = ops.tensor_iterator()
    loop.set_function(body)
    parameters = body.get_parameters()
    count = ops.gather(ops.shape_of(rows[0]), _numbers(0), _number(0))
    padding = ops.concat([_missing(count), _numbers(0)], 0)
    for parameter, node in zip(parameters[: len(rows)], rows, strict=True):
        filled = ops.pad(node, _numbers(0, 0), padding, "constant", ops.constant(np.float32(0)))
        loop.set_sliced_input(parameter, filled.output(0), 0, ROWS_AT_ONCE, ROWS_AT_ONCE, -1, 0)
    for parameter, node in zip(parameters[len(rows) :], whole, strict=True):
        loop.set_invariant_input(parameter, node)
    blocks = loop.get_concatenated_slices(
        body.get_results()[0].output(0), 0, ROWS_AT_ONCE, ROWS_AT_ONCE, -1, 0
    )
    return ops.slice(blocks, _numbers(0), count, _numbers(1), _numbers(0)).output(0)


def _missing(count: Node) -> Node:
    """How many rows the last block lacks, (1,)."""
    block = _numbers(ROWS_AT_ONCE)
    full = ops.divide(ops.add(count, _numbers(ROWS_AT_ONCE - 1)), block)
    return ops.subtract(ops.multiply(full, block), count)


def _numbers(*values: int) -> Node:
    return ops.constant(np.array(values, np.int64))


def _number(value: int) -> Node:
    return ops.constant(np.array(value, np.int64))
