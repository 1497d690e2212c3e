"""Logits on a coarse grid of cells to masks at the image's size.

`Sam.postprocess_masks` resizes the grid to the model's square, cuts its padding off
and resizes what is left to the image, both bilinearly. SAM 2 pads nothing and resizes
the grid to the image at once. Each step is linear and goes along rows and columns apart,
so each pixel row is a fixed mixture of a few rows of cells, and so with columns. With
those two matrices any part of the image can be computed alone, and an object that fills
a hundredth of the image costs a hundredth.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.masks import Mask
from grounded_labeler.models.runtime.graph import Array

if TYPE_CHECKING:
    from torch import Tensor

# Multiplications in one product of matrices. So few stay in a CPU's cache with all they read and
# write, and OpenBLAS does them in the calling thread: threads of its own would take longer to
# wake and to end than the product does, and would compete with those of the models.
_BLOCK_PRODUCTS = 2**18

# How many float32 of a mask are computed at once where a GPU does it.
_VALUES_ON_DEVICE = 2**24

# A side's matrix has a row per pixel, which a strip of a hundred megapixels has no memory
# for. No JPEG is longer; of what is, several pixels share one decision.
_LONGEST_SIDE = 2**16


@dataclass(frozen=True, eq=False)
class _Axis:
    """How the pixels along one side of the image are mixed from the grid's cells.

    `weights` is float32 (pixels, cells): none is below 0, and each pixel's sum to 1.
    A pixel's weights lie on its cells from `first` to `last`, int (pixels,), both
    of which never fall from one pixel to the next.
    """

    weights: NDArray[np.float32]
    first: NDArray[np.intp]
    last: NDArray[np.intp]

    @classmethod
    def direct(cls, cells: int, pixels: int) -> Self:
        """From `cells` to `pixels`."""
        return cls._of(_stretch(np.eye(cells, dtype=np.float32), pixels))

    @classmethod
    def through_square(cls, cells: int, side: int, kept: int, pixels: int) -> Self:
        """From `cells` to the model's `side`, of which `kept` are no padding, to `pixels`."""
        return cls._of(_stretch(_square(cells, side)[:kept], pixels))

    @classmethod
    def _of(cls, weights: NDArray[np.float32]) -> Self:
        cells = weights.shape[1]
        weighs = weights > 0
        return cls(weights, weighs.argmax(axis=1), cells - 1 - weighs[:, ::-1].argmax(axis=1))

    def reach(self, above: NDArray[np.bool_]) -> slice:
        """The pixels with a weight on the cells from the first to the last True of `above`."""
        where = np.flatnonzero(above)
        if not len(where):
            return slice(0, 0)
        start = np.searchsorted(self.last, where[0])
        stop = np.searchsorted(self.first, where[-1], side="right")
        return slice(int(start), int(stop))

    def cells(self, pixels: slice) -> slice:
        """The cells that `pixels`, at least one, are mixed from."""
        return slice(int(self.first[pixels.start]), int(self.last[pixels.stop - 1]) + 1)

    def blocks(self, pixels: slice, columns: int) -> Iterator[slice]:
        """Cut `pixels` into blocks that are mixed from `columns` columns of cells in one product.

        A block of n pixels reads about n * density + 2 cells, so its product has
        n * (n * density + 2) * columns multiplications.
        """
        pixels_in_all, cells_in_all = self.weights.shape
        density, most = cells_in_all / pixels_in_all, _BLOCK_PRODUCTS / columns
        step = max(1, int((math.sqrt(1 + density * most) - 1) / density))
        for start in range(pixels.start, pixels.stop, step):
            yield slice(start, min(start + step, pixels.stop))


@lru_cache(maxsize=1)
def _square(cells: int, side: int) -> NDArray[np.float32]:
    """From `cells` to the model's `side`, which is the same for all images: 1 MB of SAM."""
    return _stretch(np.eye(cells, dtype=np.float32), side)


def _stretch(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Resize float32 (n, cells) along its rows to (count, cells), bilinearly.

    In the order and the precision of torch's `interpolate` with `align_corners=False`, which the
    models' own packages use.
    """
    length = len(rows)
    scale = np.float32(length) / np.float32(count)
    places = np.maximum(scale * (np.arange(count, dtype=np.float32) + 0.5) - 0.5, 0)
    before = places.astype(np.intp)
    after = np.minimum(before + 1, length - 1)
    share = (places - before.astype(np.float32))[:, None]
    mixed: NDArray[np.float32] = rows[before]
    mixed *= 1 - share
    more = rows[after]
    more *= share
    mixed += more
    return mixed


def _stretched(mask: Mask, size_hw: tuple[int, int]) -> Mask:
    """The mask for a larger image, of `size_hw`: each pixel becomes several."""
    crop, corner = mask.crop, []
    sides = zip((mask.top, mask.left), mask.size_hw, size_hw, strict=True)
    for axis, (start, pixels, more) in enumerate(sides):
        edges = -(-np.arange(start, start + crop.shape[axis] + 1) * more // pixels)
        crop = crop.repeat(np.diff(edges), axis=axis)
        corner.append(int(edges[0]))
    top, left = corner
    return Mask(crop, left, top, size_hw)


def _drawn(size_hw: tuple[int, int]) -> tuple[int, int]:
    height, width = size_hw
    return min(height, _LONGEST_SIDE), min(width, _LONGEST_SIDE)


class Upscaler:
    """Logits to masks for one image, equal to the models' own postprocessing but for rounding.

    It computes where the logits are: in the calling thread, or on the GPU, of which only the
    decisions are copied.
    """

    def __init__(self, rows: _Axis, columns: _Axis, size_hw: tuple[int, int]) -> None:
        """For an image of `size_hw`; made by `direct` or `through_square`."""
        self._rows, self._columns, self._size_hw = rows, columns, size_hw
        self._drawn_hw = len(rows.weights), len(columns.weights)

    @classmethod
    def direct(cls, grid_hw: tuple[int, int], size_hw: tuple[int, int]) -> Self:
        """For an image of `size_hw` that fills the grid, as SAM 2's `post_process_masks`."""
        sides = zip(grid_hw, _drawn(size_hw), strict=True)
        rows, columns = (_Axis.direct(cells, pixels) for cells, pixels in sides)
        return cls(rows, columns, size_hw)

    @classmethod
    def through_square(
        cls,
        grid_hw: tuple[int, int],
        side: int,
        input_hw: tuple[int, int],
        size_hw: tuple[int, int],
    ) -> Self:
        """For an image of `size_hw`, which a model of `side` x `side` pixels saw as `input_hw`.

        As `Sam.postprocess_masks`.
        """
        rows, columns = (
            _Axis.through_square(cells, side, kept, pixels)
            for cells, kept, pixels in zip(grid_hw, input_hw, _drawn(size_hw), strict=True)
        )
        return cls(rows, columns, size_hw)

    def masks(self, logits: Array, threshold: float) -> list[Mask]:
        """Where each of N grids, float32 (N, h, w), is above `threshold` at the image's size."""
        if isinstance(logits, np.ndarray):
            masks = self._made_here(logits, threshold)
        else:
            masks = self._made_on_device(logits, threshold)
        if self._drawn_hw == self._size_hw:
            return list(masks)
        return [_stretched(mask, self._size_hw) for mask in masks]

    def _made_here(self, logits: NDArray[np.float32], threshold: float) -> Iterator[Mask]:
        above = logits > threshold
        by_row, by_column = np.any(above, axis=2), np.any(above, axis=1)
        for grid, of_rows, of_columns in zip(logits, by_row, by_column, strict=True):
            # A mixture of values is never above the highest of them: a pixel that is above
            # the threshold has a weight on a cell that is.
            rows, columns = self._rows.reach(of_rows), self._columns.reach(of_columns)
            crop = self._crop(grid, threshold, rows, columns)
            yield Mask(crop, columns.start, rows.start, self._drawn_hw).trimmed()

    def _crop(
        self, grid: NDArray[np.float32], threshold: float, rows: slice, columns: slice
    ) -> NDArray[np.bool_]:
        """Which pixels of `rows` and `columns` are above, of one grid, float32 (h, w)."""
        crop = _room_for(rows, columns)
        if crop.size:
            cells = self._rows.cells(rows)
            wide = self._widened(grid[cells], columns)
            for block in self._rows.blocks(rows, crop.shape[1]):
                read = self._rows.cells(block)
                tall = self._rows.weights[block, read] @ wide[_within(read, cells)]
                np.greater(tall, threshold, out=crop[_within(block, rows)])
        return crop

    def _made_on_device(self, logits: "Tensor", threshold: float) -> Iterator[Mask]:
        """Make masks where the tensor is; only what they reach is copied.

        As many at once as there may be values: of a large image one may have hundreds of
        millions, and then it is made in strips.
        """
        import torch  # noqa: PLC0415 - whoever made the tensor has imported it

        height, width = self._drawn_hw
        down, across = (
            torch.from_numpy(axis.weights).to(logits.device) for axis in (self._rows, self._columns)
        )
        at_once = max(1, _VALUES_ON_DEVICE // (height * width))
        step = max(1, _VALUES_ON_DEVICE // width)
        for first in range(0, len(logits), at_once):
            mixed = logits[first : first + at_once] @ across.T  # (n, h, width)
            above = torch.cat(
                [down[top : top + step] @ mixed > threshold for top in range(0, height, step)], 1
            )
            by_row, by_column = (above.any(axis).cpu().numpy() for axis in (2, 1))
            for mask, of_rows, of_columns in zip(above, by_row, by_column, strict=True):
                rows, columns = _extent(of_rows), _extent(of_columns)
                crop = mask[rows, columns].cpu().numpy()
                yield Mask(crop, columns.start, rows.start, self._drawn_hw)

    def _widened(self, grid: NDArray[np.float32], columns: slice) -> NDArray[np.float32]:
        """Mix float32 (n, w) along its rows: (n, pixels), those of `columns`."""
        wide = np.empty((len(grid), columns.stop - columns.start), np.float32)
        for block in self._columns.blocks(columns, len(grid)):
            read = self._columns.cells(block)
            weights = self._columns.weights[block, read]
            np.matmul(grid[:, read], weights.T, out=wide[:, _within(block, columns)])
        return wide


def _room_for(rows: slice, columns: slice) -> NDArray[np.bool_]:
    return np.empty((rows.stop - rows.start, columns.stop - columns.start), np.bool_)


def _extent(are_in: NDArray[np.bool_]) -> slice:
    """From the first True to the last."""
    where = np.flatnonzero(are_in)
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)


def _within(part: slice, whole: slice) -> slice:
    """Where `part` lies, counted from the start of `whole`."""
    return slice(part.start - whole.start, part.stop - whole.start)
