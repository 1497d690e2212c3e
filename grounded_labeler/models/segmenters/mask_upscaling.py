"""Logits on a coarse grid of cells to masks at the image's size.

`Sam.postprocess_masks` resizes the grid to the model's square, cuts its padding off
and resizes what is left to the image, both bilinearly. SAM 2 pads nothing and resizes
the grid to the image at once. Each step is linear and goes along rows and columns apart,
so each pixel row is a fixed mixture of a few rows of cells, and so with columns. With
those two matrices any part of the image can be computed alone, and an object that fills
a hundredth of the image costs a hundredth.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from grounded_labeler.core.types import Mask

# Few enough that a block's logits (float32) stay in a CPU's cache: measured, twice as fast.
_BLOCK_PIXELS = 2**18

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

    weights: Tensor
    first: NDArray[np.intp]
    last: NDArray[np.intp]

    @classmethod
    def direct(cls, cells: int, pixels: int, device: str) -> Self:
        """From `cells` to `pixels`."""
        return cls._of(_stretch(torch.eye(cells, device=device), pixels))

    @classmethod
    def through_square(cls, cells: int, side: int, kept: int, pixels: int, device: str) -> Self:
        """From `cells` to the model's `side`, of which `kept` are no padding, to `pixels`."""
        square = _stretch(torch.eye(cells, device=device), side)
        return cls._of(_stretch(square[:kept], pixels))

    @classmethod
    def _of(cls, weights: Tensor) -> Self:
        cells = weights.shape[1]
        weighs = (weights > 0).cpu().numpy()
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


def _stretch(rows: Tensor, count: int) -> Tensor:
    """Resize float32 (n, cells) along its rows to (count, cells), bilinearly."""
    size = (count, rows.shape[1])
    return interpolate(rows[None, None], size, mode="bilinear", align_corners=False)[0, 0]


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
    """Logits to masks for one image, equal to the models' own postprocessing but for rounding."""

    def __init__(self, rows: _Axis, columns: _Axis, size_hw: tuple[int, int]) -> None:
        """For an image of `size_hw`; made by `direct` or `through_square`."""
        self._rows, self._columns, self._size_hw = rows, columns, size_hw
        self._drawn_hw = len(rows.weights), len(columns.weights)

    @classmethod
    def direct(cls, grid_hw: tuple[int, int], size_hw: tuple[int, int], device: str) -> Self:
        """For an image of `size_hw` that fills the grid, as SAM 2's `post_process_masks`."""
        sides = zip(grid_hw, _drawn(size_hw), strict=True)
        rows, columns = (_Axis.direct(cells, pixels, device) for cells, pixels in sides)
        return cls(rows, columns, size_hw)

    @classmethod
    def through_square(
        cls,
        grid_hw: tuple[int, int],
        side: int,
        input_hw: tuple[int, int],
        size_hw: tuple[int, int],
        device: str,
    ) -> Self:
        """For an image of `size_hw`, which a model of `side` x `side` pixels saw as `input_hw`.

        As `Sam.postprocess_masks`.
        """
        rows, columns = (
            _Axis.through_square(cells, side, kept, pixels, device)
            for cells, kept, pixels in zip(grid_hw, input_hw, _drawn(size_hw), strict=True)
        )
        return cls(rows, columns, size_hw)

    def masks(self, logits: Tensor, threshold: float) -> list[Mask]:
        """Where each of N grids, float32 (N, h, w), is above `threshold` at the image's size."""
        above = logits > threshold
        by_row, by_column = above.any(2).cpu().numpy(), above.any(1).cpu().numpy()
        # A mixture of values is never above the highest of them: a pixel that is above
        # the threshold has a weight on a cell that is.
        return [
            self._mask(grid, threshold, self._rows.reach(rows), self._columns.reach(columns))
            for grid, rows, columns in zip(logits, by_row, by_column, strict=True)
        ]

    def _mask(self, grid: Tensor, threshold: float, rows: slice, columns: slice) -> Mask:
        """The mask of one grid, float32 (h, w), that is False outside `rows` and `columns`."""
        height, width = rows.stop - rows.start, columns.stop - columns.start
        crop = torch.empty((height, width), dtype=torch.bool, device=grid.device)
        if height and width:
            cells = self._columns.cells(columns)
            wide = grid[:, cells] @ self._columns.weights[columns, cells].T
            step = max(1, _BLOCK_PIXELS // width)
            for start in range(rows.start, rows.stop, step):
                block = slice(start, min(start + step, rows.stop))
                cells = self._rows.cells(block)
                tall = self._rows.weights[block, cells] @ wide[cells]
                place = slice(block.start - rows.start, block.stop - rows.start)
                torch.gt(tall, threshold, out=crop[place])
        mask = Mask(crop.cpu().numpy(), columns.start, rows.start, self._drawn_hw).trimmed()
        return mask if self._drawn_hw == self._size_hw else _stretched(mask, self._size_hw)
