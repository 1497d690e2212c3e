"""Where a detector looks in a large image: at the whole of it, and at overlapping tiles."""

import math
from dataclasses import dataclass

Rectangle = tuple[int, int, int, int]  # xyxy in pixels, half-open

OFF, AUTO = "off", "auto"
MAX_AUTO_TILES = 25
MAX_TILES = 1000
MIN_SIDE, _MAX_SIDE = 64, 100_000
# Of a tile's side; what is smaller than this is whole in some tile.
_OVERLAP = 0.2
# `AUTO` tiles an image whose longer side is more than this many times what the detector sees.
_SHRUNK = 2


@dataclass(frozen=True)
class Tiling:
    """Square tiles of `side` pixels; None cuts an image only where the detector shrinks it much."""

    side: int | None = None

    def tiles(self, size_wh: tuple[int, int], seen_side: int) -> list[Rectangle]:
        """Return the tiles of an image, row by row; empty where the whole image is enough.

        Neighbours overlap by a fifth of their side at least. Tiles are larger than `side` where
        there would be more than 1,000.

        Args:
            size_wh: width and height of the image in pixels.
            seen_side: pixels of the longer side of an image as the detector sees it.
        """
        if self.side is not None:
            return _at_most(MAX_TILES, size_wh, self.side)
        if max(size_wh) <= _SHRUNK * seen_side:
            return []
        return _at_most(MAX_AUTO_TILES, size_wh, seen_side)


def tiling_text(tiling: Tiling | None) -> str:
    """Say what `parse_tiling` reads."""
    if tiling is None:
        return OFF
    return AUTO if tiling.side is None else str(tiling.side)


def parse_tiling(text: str) -> Tiling | None:
    """Read `off`, `auto` or the side of a tile in pixels; None is `off`.

    Raises ValueError that completes "must be ...".
    """
    word = text.strip().lower()
    if word == OFF:
        return None
    if word == AUTO:
        return Tiling()
    if not (word.isdecimal() and word.isascii() and len(word) <= len(str(_MAX_SIDE))):
        raise ValueError("off, auto or a number of pixels")
    if not MIN_SIDE <= int(word) <= _MAX_SIDE:
        raise ValueError(f"off, auto or a number of pixels from {MIN_SIDE} to {_MAX_SIDE:,}")
    return Tiling(int(word))


def _at_most(limit: int, size_wh: tuple[int, int], side: int) -> list[Rectangle]:
    """The tiles of an image, of the smallest side from `side` on that makes no more than `limit`.

    Empty where one tile is the whole image.
    """
    width, height = size_wh
    while _count(width, side) * _count(height, side) > limit:
        side = math.ceil(side * 1.02)
    tiles = [
        (x0, y0, x1, y1)
        for y0, y1 in _spans(height, side)
        for x0, x1 in _spans(width, side)
    ]  # fmt: skip
    return tiles if len(tiles) > 1 else []


def _count(length: int, side: int) -> int:
    return 1 if length <= side else 1 + math.ceil((length - side) / (side * (1 - _OVERLAP)))


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    """Where tiles begin and end along one axis, spread evenly from edge to edge."""
    count = _count(length, side)
    if count == 1:
        return [(0, length)]
    starts = [round(i * (length - side) / (count - 1)) for i in range(count)]
    return [(start, start + side) for start in starts]
