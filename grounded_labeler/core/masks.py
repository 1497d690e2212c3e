"""Which pixels of an image belong to an object: stored as crops, and packed where they are kept."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Mask:
    """The pixels of an image that belong to an object, stored as a crop.

    `crop` is bool (h, w); its first pixel is `left` and `top` pixels from the first
    pixel of the image of `size_hw`, height and width. All pixels outside it are
    False. `crop` may hold rows and columns without a True pixel, and may be empty.
    """

    crop: NDArray[np.bool_]
    left: int
    top: int
    size_hw: tuple[int, int]

    @property
    def crop_hw(self) -> tuple[int, ...]:
        """Height and width of the crop."""
        return self.crop.shape

    def __post_init__(self) -> None:
        if self.crop.dtype != np.bool_ or self.crop.ndim != 2:
            raise ValueError(f"crop must be bool (h, w), got {self.crop.dtype} {self.crop.shape}")
        height, width = self.size_hw
        if height < 1 or width < 1:
            raise ValueError(f"size_hw must be at least 1 x 1, got {height} x {width}")
        bottom, right = self.top + self.crop.shape[0], self.left + self.crop.shape[1]
        if not (0 <= self.top <= bottom <= height and 0 <= self.left <= right <= width):
            raise ValueError(
                f"crop must lie inside {height} x {width} pixels, "
                f"got rows {self.top} to {bottom} and columns {self.left} to {right}"
            )

    @classmethod
    def from_full(cls, full: NDArray[np.bool_]) -> "Mask":
        """The mask whose pixels are `full`, bool (H, W); shares no memory with it."""
        height, width = full.shape
        return Mask(full, 0, 0, (height, width)).trimmed()

    def trimmed(self) -> "Mask":
        """The same mask with the smallest crop, 0 x 0 if no pixel is True, in memory of its own."""
        rows, columns = (np.flatnonzero(self.crop.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return Mask(np.zeros((0, 0), np.bool_), 0, 0, self.size_hw)
        crop = self.crop[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
        return Mask(crop, self.left + int(columns[0]), self.top + int(rows[0]), self.size_hw)

    def full(self) -> NDArray[np.bool_]:
        """Every pixel of the image: bool (H, W)."""
        full = np.zeros(self.size_hw, np.bool_)
        height, width = self.crop.shape
        full[self.top : self.top + height, self.left : self.left + width] = self.crop
        return full

    def any(self) -> bool:
        """Whether any pixel is True."""
        return bool(self.crop.any())

    @property
    def key(self) -> str | None:
        """What only masks of the same pixels have in common; None where it was never worked out."""
        return None

    def bits(self) -> NDArray[np.uint8]:
        """The pixels of the crop row by row, uint8, eight in a byte: the first is its highest bit.

        What is left of the last byte is 0.
        """
        return np.packbits(self.crop)

    def packed(self) -> "PackedMask":
        """The same in an eighth of the memory, with a key of its content."""
        bits = self.bits()
        place = (self.crop.shape, (self.left, self.top), self.size_hw)
        digest = hashlib.sha256(repr(place).encode())
        digest.update(bits.data)
        return PackedMask(bits, *place, digest.hexdigest(), self.any())


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A mask to store: the pixels of its crop, of `crop_hw`, are `bits`, eight in a byte.

    `key` is the one of its content, `has_pixels` says whether any pixel is True.
    """

    bits: NDArray[np.uint8]
    crop_hw: tuple[int, ...]
    left_top: tuple[int, int]
    size_hw: tuple[int, int]
    key: str
    has_pixels: bool

    @property
    def nbytes(self) -> int:
        """The memory its pixels take, in bytes."""
        return self.bits.nbytes

    def mask(self) -> Mask:
        """The mask; nothing is unpacked before its pixels are read."""
        return _StoredMask(self)

    def pixels(self) -> NDArray[np.bool_]:
        """Unpack the crop, bool (h, w), into memory of its own."""
        height, width = self.crop_hw
        pixels = np.unpackbits(self.bits, count=height * width).view(np.bool_)
        return pixels.reshape(height, width)


class _StoredMask(Mask):
    """A mask whose crop is unpacked when it is first read, for as long as this object lives.

    Whoever needs it in a form that was kept under its key never reads it. It is sent to another
    process packed.
    """

    def __init__(self, packed: PackedMask) -> None:
        left, top = packed.left_top
        vars(self).update(_packed=packed, left=left, top=top, size_hw=packed.size_hw)

    @cached_property
    def crop(self) -> NDArray[np.bool_]:
        return self._of.pixels()

    @property
    def crop_hw(self) -> tuple[int, ...]:
        return self._of.crop_hw

    @property
    def _of(self) -> PackedMask:
        packed: PackedMask = vars(self)["_packed"]
        return packed

    @property
    def key(self) -> str:
        return self._of.key

    def any(self) -> bool:
        return self._of.has_pixels

    def bits(self) -> NDArray[np.uint8]:
        return self._of.bits

    def packed(self) -> PackedMask:
        return self._of

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "crop"}
