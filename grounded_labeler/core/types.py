"""The arrays that the stages hand on; each class checks dtype and shape."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

RGBImage = NDArray[np.uint8]  # (H, W, 3), upright, 0 to 255
Boxes = NDArray[np.float32]  # (N, 4), xyxy in pixels, half-open
Scores = NDArray[np.float32]  # in [0, 1]


def _check(name: str, array: NDArray[np.generic], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"{name} must be {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}"
        )


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A decoded image and a key of its content, under which results are cached.

    `pixels` is uint8 RGB (H, W, 3), upright. Images of one key have the same pixels.
    """

    pixels: RGBImage
    key: str

    @classmethod
    def of(cls, pixels: RGBImage) -> Self:
        """Make the key from the pixels themselves."""
        digest = hashlib.sha256(repr(pixels.shape).encode())
        digest.update(np.ascontiguousarray(pixels).data)
        return cls(pixels, digest.hexdigest())


@dataclass(frozen=True)
class TileCount:
    """How many of an image's tiles the detector looked at, and how many there are."""

    done: int
    wanted: int


@dataclass(frozen=True, eq=False)
class Views:
    """Where each of N candidates was found in an image that was looked at in several views.

    `frames` (N, 4) are the views, xyxy in pixels of the image: all of it, or a tile. `is_cut`,
    bool (N,), tells of what an edge of its view cuts.
    """

    frames: Boxes
    is_cut: NDArray[np.bool_]
    tiles: TileCount

    @property
    def nbytes(self) -> int:
        return self.frames.nbytes + self.is_cut.nbytes

    def subset(self, rows: NDArray[np.intp]) -> Self:
        """Return those of the candidates at `rows`, intp (M,), in that order."""
        return replace(self, frames=self.frames[rows], is_cut=self.is_cut[rows])


@dataclass(frozen=True, eq=False)
class Candidates:
    """All candidates of a detector in one image for P phrases, before any threshold.

    `boxes` (N, 4) may reach over the image's edge. `peaks` (N, P) is the highest
    score among a phrase's own tokens, the figure Grounding DINO's own predict()
    compares with its box threshold; `means` (N, P) is their mean, the figure its
    COCO evaluation ranks phrases by.
    `captions` (N,) is the index of the caption that found a box;
    both scores are 0 for a phrase of another one. `is_coarse` says that memory was short, and
    that the model saw fewer pixels than it should.
    `presence` (P,) is how likely the phrase is in the image at all; None where a detector does
    not say. `scores_tokens` is False where a detector scores whole phrases: `peaks` and `means`
    are then the same, and a text threshold, which is for tokens, has no meaning.
    `views` says where each was found; None where the detector looked at the whole image alone.
    """

    boxes: Boxes
    peaks: Scores
    means: Scores
    captions: NDArray[np.intp]
    is_coarse: bool = False
    presence: Scores | None = None
    scores_tokens: bool = True
    views: Views | None = None

    def __post_init__(self) -> None:
        count, phrases = len(self.boxes), self.peaks.shape[-1]
        _check("boxes", self.boxes, np.float32, (count, 4))
        _check("peaks", self.peaks, np.float32, (count, phrases))
        _check("means", self.means, np.float32, (count, phrases))
        _check("captions", self.captions, np.intp, (count,))
        if self.presence is not None:
            _check("presence", self.presence, np.float32, (phrases,))
        if self.views is not None:
            _check("views.frames", self.views.frames, np.float32, (count, 4))
            _check("views.is_cut", self.views.is_cut, np.bool_, (count,))

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def nbytes(self) -> int:
        arrays = (self.boxes, self.peaks, self.means, self.captions)
        views = 0 if self.views is None else self.views.nbytes
        return views + sum(array.nbytes for array in arrays)

    def subset(self, rows: NDArray[np.intp]) -> Self:
        """Return the candidates at `rows`, intp (M,), in that order, for the same phrases."""
        return replace(
            self,
            boxes=self.boxes[rows],
            peaks=self.peaks[rows],
            means=self.means[rows],
            captions=self.captions[rows],
            views=None if self.views is None else self.views.subset(rows),
        )


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one image: N boxes inside it, best score first.

    `phrases[i]` is the phrase that found box i, `labels[i]` what the project
    calls it, None when no label of the project fits.
    """

    boxes: Boxes
    scores: Scores
    phrases: tuple[str, ...]
    labels: tuple[str | None, ...]

    def __post_init__(self) -> None:
        count = len(self.boxes)
        _check("boxes", self.boxes, np.float32, (count, 4))
        _check("scores", self.scores, np.float32, (count,))
        for name, values in (("phrases", self.phrases), ("labels", self.labels)):
            if len(values) != count:
                raise ValueError(f"{name} must have {count} entries, got {len(values)}")

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def empty(cls) -> Self:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (), ())

    def subset(self, rows: NDArray[np.intp]) -> Self:
        """Return the detections at `rows`, intp (M,), in that order."""
        return replace(
            self,
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            phrases=tuple(self.phrases[row] for row in rows),
            labels=tuple(self.labels[row] for row in rows),
        )


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


@dataclass(frozen=True)
class Label:
    """One `<Label>`: its value, the phrases that also mean it, and the phrase to ask for it with.

    `score_threshold`, in [0, 1], is its own box threshold, if it has one.

    `value` is what regions are saved with: the `alias` where the tag has one, as
    the editor and the SDK have it. The name that is then only shown becomes the
    first of `predicted_values` and, unless the tag has a `prompt`, the prompt.
    """

    value: str
    predicted_values: tuple[str, ...] = ()
    prompt: str | None = None
    score_threshold: float | None = None


@dataclass(frozen=True)
class Thresholds:
    """The limits that select detections from candidates; the fractions are in [0, 1].

    `box` holds for what has no box threshold of its own, as a label may, or for everything where
    it `overrides_labels`: somebody set it for this one request.
    """

    box: float
    text: float
    nms: float
    max_regions: int
    overrides_labels: bool = False
