"""Deformable attention as an OpenVINO graph whose memory accesses stay near each other.

Every query reads the features of a few points around its place, on each level: bilinearly, so a
point is a weighted sum of four cells. The packages sample all points of all queries into one
tensor and sum it up afterwards, which on a CPU takes longer than the matrix products around it.
Here each query's cells and weights become one bag of an EmbeddingBag: whole rows of features are
read and summed at once, and nothing is held in between. Queries go through in groups, since
OpenVINO's EmbeddingBag wants a fixed number of bags and since a group's numbers fit into a
processor's cache.

Rounding decides nothing here: where a point lies on the border of two cells, the weight of the
one that rounding adds or leaves out is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset15 as ops

# The numbers of so many queries (of 8 heads and 16 points) fit into an L2 cache of 1 MiB twice.
QUERIES_AT_ONCE = 512
# What a point's four cells are away from the first of them, across and down.
_ACROSS, _DOWN = (0, 1, 0, 1), (0, 0, 1, 1)

Node = Any  # OpenVINO's graphs come without usable types


@dataclass(frozen=True)
class Sampling:
    """How a deformable attention samples: H heads, P points on each of L levels.

    A cell has C `channels`, of which each head has its share. `coordinates` is 4 where the places
    that offsets start from are boxes, cxcywh, and 2 where they are points.
    """

    heads: int
    levels: int
    points: int
    channels: int
    coordinates: int

    @property
    def each(self) -> int:
        """How many points a head of a query has in all."""
        return self.levels * self.points


def sampling_graph(
    sampling: Sampling, plan: Node, values: Node, references: Node, sizes: Node
) -> Node:
    """Build the nodes that sample, for one image.

    Args:
        sampling: how often is sampled.
        plan: float32 (1, Q, 3 H L P): each point's offset across, then down, in cells where
            `references` are places and in their halves divided by P where they are boxes; then
            the logits of the points' weights. H, L and P vary in this order.
        values: float32 (1, S, C), the cells of all levels, row by row.
        references: float32 (1, Q, L, 2 or 4), places or cxcywh as fractions of the image; the
            same on every level, as it is where no image is padded.
        sizes: integers (L, 2), the levels' heights and widths in cells.

    Returns:
        The node of float32 (1, Q, C).
    """
    queries, first = _without_batch(plan), _without_batch(_first_level(references))
    size, start = _per_point(sampling, sizes)
    rows = _shaped(values, -1, sampling.channels // sampling.heads)
    outer = (rows.output(0), queries.output(0), first.output(0), size, start)
    count = _count(queries)
    padding = ops.concat([_missing(count), _numbers(0)], 0)
    inner = [
        ops.parameter([-1, sampling.channels // sampling.heads], np.float32),
        *(
            ops.parameter([QUERIES_AT_ONCE, width], np.float32)
            for width in (3 * sampling.heads * sampling.each, sampling.coordinates)
        ),
        *(ops.parameter([length, sampling.each], np.float32) for length in (2, 1)),
    ]
    answer = ops.result(_of_group(sampling, inner))
    loop = ops.tensor_iterator()
    loop.set_function(openvino.Model([answer], inner))
    for place, (parameter, node) in enumerate(zip(inner, outer, strict=True)):
        if place in (1, 2):
            filled = ops.pad(node, _numbers(0, 0), padding, "constant", _number(0.0))
            loop.set_sliced_input(
                parameter, filled.output(0), 0, QUERIES_AT_ONCE, QUERIES_AT_ONCE, -1, 0
            )
        else:
            loop.set_invariant_input(parameter, node)
    groups = loop.get_concatenated_slices(
        answer.output(0), 0, QUERIES_AT_ONCE, QUERIES_AT_ONCE, -1, 0
    )
    wanted = ops.slice(groups, _numbers(0), count, _numbers(1), _numbers(0))
    return ops.unsqueeze(wanted, _numbers(0))


def _of_group(sampling: Sampling, group: Sequence[Node]) -> Node:
    """Return the node of (QUERIES_AT_ONCE, C), of as many queries."""
    rows, plan, references, sizes, starts = group
    heads, each = sampling.heads, sampling.each
    bags = QUERIES_AT_ONCE * heads
    part = heads * each
    parts = ops.variadic_split(plan, _number(1, np.int64), _numbers(part, part, part))
    shares = ops.softmax(_shaped(parts.output(2), bags, each), 1)
    cells, weights = [], _by_point(shares, sampling)
    for axis, steps in enumerate((_ACROSS, _DOWN)):
        # Of axes: query, head, cell, point. Two ahead of them, as OpenVINO would otherwise keep
        # such tensors in blocks and put them in order again.
        size = _shaped(_column(sizes, axis, 0), 1, 1, 1, 1, 1, each)
        offsets = _by_point(parts.output(axis), sampling)
        place = _shaped(_column(references, axis, 1), 1, 1, QUERIES_AT_ONCE, 1, 1, 1)
        if sampling.coordinates == 4:
            side = _shaped(_column(references, axis + 2, 1), 1, 1, QUERIES_AT_ONCE, 1, 1, 1)
            reach = ops.multiply(side, _number(0.5 / sampling.points))
            place = ops.add(place, ops.multiply(offsets, reach))
            point = ops.subtract(ops.multiply(place, size), _number(0.5))
        else:
            point = ops.add(ops.subtract(ops.multiply(place, size), _number(0.5)), offsets)
        # Of the two cells beside a point, the first that leaves room for both.
        last = ops.maximum(ops.subtract(size, _number(2.0)), _number(0.0))
        whole = ops.floor(point, name=f"sampling/floor of axis {axis}")
        cell = ops.minimum(ops.maximum(whole, _number(0.0)), last)
        away = ops.abs(ops.subtract(ops.subtract(point, cell), _steps(steps)))
        weight = ops.maximum(ops.subtract(_number(1.0), away), _number(0.0))
        # A level that is one cell wide has no second one.
        others = ops.subtract(size, _number(1.0))
        exists = ops.less_equal(_steps(steps), others, name=f"sampling/exists on axis {axis}")
        weights = ops.multiply(weights, ops.select(exists, weight, _number(0.0)))
        cells.append((cell, size, steps))
    numbers = _rows_of(sampling, cells, _shaped(starts, 1, 1, 1, 1, 1, each))
    bag = ops.embedding_bag_packed(
        rows, _shaped(numbers, bags, 4 * each), _shaped(weights, bags, 4 * each), "sum"
    )
    return _shaped(bag, QUERIES_AT_ONCE, sampling.channels)


def _rows_of(
    sampling: Sampling, cells: Sequence[tuple[Node, Node, Sequence[int]]], starts: Node
) -> Node:
    """Which rows of features the four cells of each point are: a cell has a row for each head.

    They are counted in float32, exact up to 2 ** 24, which is faster than in integers.
    """
    (across, width, over), (down, height, below) = cells
    heads = _number(float(sampling.heads))
    head = np.arange(sampling.heads, dtype=np.float32).reshape(1, 1, 1, -1, 1, 1)
    first = ops.add(ops.add(ops.multiply(down, width), across), starts)
    step_over = ops.minimum(_steps(over), ops.subtract(width, _number(1.0)))
    step_below = ops.minimum(_steps(below), ops.subtract(height, _number(1.0)))
    step = ops.add(ops.multiply(step_below, width), step_over)
    return ops.add(
        ops.convert(
            ops.add(ops.multiply(first, heads), ops.constant(head)),
            np.int32,
            name="sampling/first row",
        ),
        ops.convert(ops.multiply(step, heads), np.int32, name="sampling/rows on"),
    )


def _per_point(sampling: Sampling, sizes: Node) -> tuple[Node, Node]:
    """Return each point's level's width and height, (2, L P), and its first cell, (1, L P)."""
    whole = ops.convert(sizes, np.int64)
    cells = ops.reduce_prod(whole, _numbers(1), keep_dims=True)
    starts = ops.cum_sum(cells, _number(0, np.int64), exclusive=True)
    columns = ops.concat([_column(whole, 1, 1), _column(whole, 0, 1), starts], 1)
    each = ops.tile(ops.unsqueeze(columns, _numbers(1)), _numbers(1, sampling.points, 1))
    rows = ops.transpose(_shaped(each, sampling.each, 3), _numbers(1, 0))
    split = ops.variadic_split(ops.convert(rows, np.float32), _number(0, np.int64), _numbers(2, 1))
    return split.output(0), split.output(1)


def _by_point(node: Node, sampling: Sampling) -> Node:
    return _shaped(node, 1, 1, QUERIES_AT_ONCE, sampling.heads, 1, sampling.each)


def _steps(steps: Sequence[int]) -> Node:
    return ops.constant(np.array(steps, np.float32).reshape(1, 1, 1, 1, 4, 1))


def _without_batch(node: Node) -> Node:
    return ops.squeeze(node, _numbers(0))


def _first_level(references: Node) -> Node:
    return ops.gather(references, _number(0, np.int64), _number(2, np.int64))


def _column(node: Node, place: int, axis: int) -> Node:
    """Return one column or row of `node`, whose axis is kept."""
    return ops.gather(node, _numbers(place), _number(axis, np.int64))


def _count(node: Node) -> Node:
    return ops.gather(ops.shape_of(node), _numbers(0), _number(0, np.int64))


def _missing(count: Node) -> Node:
    """How many queries the last group lacks, (1,)."""
    group = _numbers(QUERIES_AT_ONCE)
    full = ops.divide(ops.add(count, _numbers(QUERIES_AT_ONCE - 1)), group)
    return ops.subtract(ops.multiply(full, group), count)


def _shaped(node: Node, *shape: int) -> Node:
    return ops.reshape(node, _numbers(*shape), special_zero=False)


def _numbers(*values: int) -> Node:
    return ops.constant(np.array(values, np.int64))


def _number(value: float, kind: type[Any] = np.float32) -> Node:
    array: NDArray[Any] = np.array(value, kind)
    return ops.constant(array)
