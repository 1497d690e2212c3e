"""Masks as the run lengths (RLE) of Label Studio's brush regions.

The format is written down nowhere but in the code that reads it, and a brush region
is only right if reader and writer agree on every bit. So what is written here is,
byte for byte, what `label_studio_sdk.converter.brush.mask2rle` writes; that one
builds a text of all bits, run by run, and takes seconds for a large ragged mask.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import Mask

Integers = NDArray[np.int64]

_CHANNELS = 4  # per pixel; Label Studio draws with the last one as opacity
_OPAQUE = 255  # 1 would be invisible
_VALUE_BITS = 8

# A run's length is written in one of four numbers of bits, the fewest that hold it.
_LENGTH_BITS = np.array([3, 4, 8, 16])
_LONGEST = 2**16
# Bits per value and the four numbers above, each less one: what follows the first 32 bits.
_SIZES, _SIZES_BITS = 0b00111_0010_0011_0111_1111, 21


def encode_rle(mask: Mask) -> list[int]:
    """The mask as the `rle` of a Label Studio brush region: bytes 0 to 255."""
    height, width = mask.size_hw
    codes, widths = _codes(*_runs(mask))
    values = height * width * _CHANNELS
    return list(
        _pack(
            np.concatenate([[values, _SIZES], codes]),
            np.concatenate([[32, _SIZES_BITS], widths]),
        )
    )


def decode_rle(rle: Sequence[int], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels, bool (H, W), of a brush region's `rle`: where it is more than half opaque.

    Raises ValueError when the region was made for an image of another size, or cannot be read.
    Takes memory for that size alone, whatever the `rle` says. `label_studio_sdk`'s own
    `converter.brush.decode_rle` takes five times as long.
    """
    height, width = size_hw
    data = bytes(rle)
    count = int.from_bytes(data[:4], "big")
    if count != height * width * _CHANNELS:
        raise ValueError(f"rle must hold {height} x {width} pixels of 4 values, got {count} values")
    lengths, values = _read_runs(data, count)
    # The opacity is the last value of a pixel: the runs of pixels end where it was read.
    ends = np.minimum(lengths.cumsum(), count) // _CHANNELS
    opaque = np.repeat(values > _OPAQUE // 2, np.diff(ends, prepend=0))
    return opaque.reshape(height, width)


def _read_runs(data: bytes, count: int) -> tuple[Integers, Integers]:
    """How often each value comes in a row, until there are `count`: lengths and values."""
    bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}"

    def number(start: int, size: int) -> int:
        return int(bits[start : start + size], 2)

    if number(32, 5) + 1 != _VALUE_BITS:
        raise ValueError(f"rle must have {_VALUE_BITS} bits a value")
    length_bits = [number(place, 4) + 1 for place in range(37, 53, 4)]
    place, read = 32 + _SIZES_BITS, 0
    lengths, values = [], []
    while read < count:
        repeats = bits[place : place + 1] == "1"
        size = length_bits[number(place + 1, 2)]
        length = 1 + number(place + 3, size)
        place += 3 + size
        end = place + _VALUE_BITS * (1 if repeats else length)
        if end > len(bits):
            raise ValueError("rle must not end before all its values")
        values += [number(start, _VALUE_BITS) for start in range(place, end, _VALUE_BITS)]
        lengths += [length] if repeats else [1] * length
        place, read = end, read + length
    return np.array(lengths, np.int64), np.array(values, np.int64)


def _runs(mask: Mask) -> tuple[Integers, Integers]:
    """How often each value comes in a row, pixel by pixel and row by row: lengths and values."""
    height, width = mask.size_hw
    edges = _edges(mask)
    lengths = np.diff(edges, prepend=0, append=height * width) * _CHANNELS
    values = np.arange(len(lengths)) % 2 * _OPAQUE
    real = lengths > 0  # the first run is none when the first pixel is True; so with the last
    return lengths[real], values[real]


def _edges(mask: Mask) -> Integers:
    """Where another value begins than that of the pixel before, in the order of the pixels.

    By eight pixels at a time: few of these bytes have an edge in them, and a mask that is kept
    packed need not be unpacked.
    """
    rows, columns = mask.crop_hw
    bits = np.append(mask.bits(), np.uint8(0))  # a last pixel that is True ends before it
    before = bits >> 1
    before[1:] |= bits[:-1] << 7
    changes = np.bitwise_xor(bits, before, dtype=np.uint8)
    with_edge = np.flatnonzero(changes)
    found = np.flatnonzero(np.unpackbits(changes[with_edge]))
    edges = with_edge[found // 8] * 8 + found % 8
    width, start = mask.size_hw[1], mask.top * mask.size_hw[1] + mask.left
    if columns == width or not rows * columns:
        return edges + start
    # A run ends with its row of the crop, as there are more pixels before the next row.
    row, column = np.divmod(edges[edges % columns > 0], columns)
    first = np.arange(rows) * columns
    begun = np.flatnonzero(_are_set(bits, first)) * width
    ended = np.flatnonzero(_are_set(bits, first + columns - 1)) * width + columns
    return np.sort(np.concatenate([row * width + column, begun, ended]), kind="stable") + start


def _are_set(bits: NDArray[np.uint8], places: Integers) -> NDArray[np.bool_]:
    """Whether the pixels at `places` are True."""
    return bits[places // 8] >> (7 - places % 8).astype(np.uint8) & 1 > 0


def _codes(lengths: Integers, values: Integers) -> tuple[Integers, Integers]:
    """What is written for each run, and in how many bits.

    That is a 1, two bits for the number of bits of the length, the length less one,
    and the value. A run longer than 16 bits can say is written as several.
    """
    kinds = np.searchsorted(2 ** _LENGTH_BITS[:-1], lengths)
    before = (lengths - 1) // _LONGEST  # runs of the longest kind that a run begins with
    if before.any():
        ends = np.cumsum(before + 1) - 1
        kinds, values = kinds.repeat(before + 1), values.repeat(before + 1)
        rest = lengths - before * _LONGEST
        lengths = np.full(len(kinds), _LONGEST)
        lengths[ends] = rest
    bits = _LENGTH_BITS[kinds]
    codes = ((0b100 + kinds << bits) + lengths - 1 << _VALUE_BITS) + values
    return codes, 3 + bits + _VALUE_BITS


def _pack(codes: Integers, widths: Integers) -> bytes:
    """The codes one after the other, each in its number of bits, at most 32.

    Zeros fill up the last byte; the SDK adds a whole byte of them when none is to be
    filled, and so does this.
    """
    ends = widths.cumsum()
    words, offsets = np.divmod(ends - widths, 32)
    # A code lies in the word of 32 bits it begins in and the next. All that begin in
    # one word are joined in 64 bits first; some code begins in each.
    placed = codes << (64 - offsets - widths)
    joined = np.bitwise_or.reduceat(placed, np.flatnonzero(np.diff(words, prepend=-1)))
    joined = joined.view(np.uint64)
    packed = np.zeros(len(joined) + 1, np.uint32)
    packed[:-1] = joined >> 32
    packed[1:] |= joined.astype(np.uint32)
    return packed.astype(">u4").tobytes()[: ends[-1] // 8 + 1]
