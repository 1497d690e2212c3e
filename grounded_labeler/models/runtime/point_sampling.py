"""Deformable attention as an OpenVINO graph whose memory accesses stay near each other.

Every query reads the features of a few points around its place, on each level: bilinearly, so a
point is a weighted sum of four cells. The packages sample all points of all queries into one
tensor and sum it up afterwards, which on a CPU takes longer than the matrix products around it.
Here each query's cells and weights become one bag of an EmbeddingBag: whole rows of features are
read and summed at once, and nothing is held in between. The bags of a head come one after the
other, as queries beside each other read nearly the same cells: what one head reads of them fits
into an L2 cache, what all heads read does not.

Rounding decides nothing here: where a point lies on the border of two cells, the weight of the
one that rounding adds or leaves out is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openvino import opset15 as ops

# What a point's four cells are away from the first of them, across and down.
_ACROSS, _DOWN = (0, 1, 0, 1), (0, 0, 1, 1)

Node = Any  # OpenVINO's graphs come without usable types


@dataclass(frozen=True)
class Sampling:
    """How a deformable attention samples: H heads, P points on each of L levels.

    A cell has C `channels`, of which each head has its share. `coordinates` is 4 where the places
    that offsets start from are boxes, cxcywh, and 2 where they are points. `by_head` says whether
    the cells of a head lie together, which takes a copy of all and pays where every cell asks;
    otherwise the heads of a cell do.
    """

    heads: int
    levels: int
    points: int
    channels: int
    coordinates: int
    by_head: bool

    @property
    def each(self) -> int:
        """How many points a head of a query has in all."""
        return self.levels * self.points

    @property
    def depth(self) -> int:
        """How many channels a head has."""
        return self.channels // self.heads


def sampling_graph(sampling: Sampling, plan: Node, places: Node, seen: Sequence[Node]) -> Node:
    """Build the nodes that sample, for queries of one image.

    Args:
        sampling: how often is sampled.
        plan: float32 (Q, 3 H L P): each point's offset across, then down, in cells where `places`
            are points and in their halves divided by P where they are boxes; then the logits of
            the points' weights. H, L and P vary in this order. Q is a number of the graph.
        places: float32 (Q, 2 or 4), places or cxcywh as fractions of the image.
        seen: float32 (H S, C / H), the cells of all levels, row by row, for each head, or the
            heads of each cell; (2, L P), the width and the height of each point's level, in cells;
            and (H, L P), which of those rows is the first of that level, for each head.

    Returns:
        The node of float32 (Q, C).
    """
    rows, sizes, starts = seen
    heads, each = sampling.heads, sampling.each
    queries = plan.get_partial_shape()[0].get_length()
    by_head = ops.transpose(_shaped(plan, queries, 3, heads, each), _numbers(1, 2, 0, 3))
    # Of axes: head, query, cell, point. Two ahead of them, as OpenVINO would otherwise keep such
    # tensors in blocks and put them in order again.
    parts = [_shaped(_column(by_head, part, 0), 1, 1, heads, queries, 1, each) for part in range(3)]
    cells, weights = [], ops.softmax(parts[2], 5)
    for axis, steps in enumerate((_ACROSS, _DOWN)):
        size = _shaped(_column(sizes, axis, 0), 1, 1, 1, 1, 1, each)
        place = _shaped(_column(places, axis, 1), 1, 1, 1, queries, 1, 1)
        if sampling.coordinates == 4:
            side = _shaped(_column(places, axis + 2, 1), 1, 1, 1, queries, 1, 1)
            reach = ops.multiply(side, _number(0.5 / sampling.points))
            place = ops.add(place, ops.multiply(parts[axis], reach))
            point = ops.subtract(ops.multiply(place, size), _number(0.5))
        else:
            point = ops.add(ops.subtract(ops.multiply(place, size), _number(0.5)), parts[axis])
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
    apart = _number(1.0 if sampling.by_head else float(heads))
    numbers = _rows_of(cells, _shaped(starts, 1, 1, heads, 1, 1, each), apart)
    bags = (heads * queries, 4 * each)
    bag = ops.embedding_bag_packed(rows, _shaped(numbers, *bags), _shaped(weights, *bags), "sum")
    by_query = ops.transpose(_shaped(bag, heads, queries, sampling.depth), _numbers(1, 0, 2))
    return _shaped(by_query, queries, sampling.channels)


def _rows_of(cells: Sequence[tuple[Node, Node, Sequence[int]]], starts: Node, apart: Node) -> Node:
    """Which rows of features the four cells of each point are; those of a head lie `apart`.

    They are counted in float32, exact up to 2 ** 24, which is faster than in integers.
    """
    (across, width, over), (down, height, below) = cells
    first = ops.add(ops.multiply(down, width), across)
    step_over = ops.minimum(_steps(over), ops.subtract(width, _number(1.0)))
    step_below = ops.minimum(_steps(below), ops.subtract(height, _number(1.0)))
    step = ops.add(ops.multiply(step_below, width), step_over)
    return ops.add(
        ops.convert(
            ops.add(ops.multiply(first, apart), starts), np.int32, name="sampling/first row"
        ),
        ops.convert(ops.multiply(step, apart), np.int32, name="sampling/rows on"),
    )


def _steps(steps: Sequence[int]) -> Node:
    return ops.constant(np.array(steps, np.float32).reshape(1, 1, 1, 1, 4, 1))


def _column(node: Node, place: int, axis: int) -> Node:
    """Return one column or row of `node`, whose axis is kept."""
    return ops.gather(node, _numbers(place), _number(axis, np.int64))


def _shaped(node: Node, *shape: int) -> Node:
    return ops.reshape(node, _numbers(*shape), special_zero=False)


def _numbers(*values: int) -> Node:
    return ops.constant(np.array(values, np.int64))


def _number(value: float, kind: type[Any] = np.float32) -> Node:
    array: NDArray[Any] = np.array(value, kind)
    return ops.constant(array)
