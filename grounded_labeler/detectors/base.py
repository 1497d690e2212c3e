"""What a detector is, and the steps all engines share: captions, batches, boxes in pixels."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from grounded_labeler.boxes import from_cxcywh
from grounded_labeler.detectors.caption import Caption, CaptionBuilder, phrase_scores
from grounded_labeler.errors import OutOfMemory, WeightsError
from grounded_labeler.structures import Candidates, RGBImage

logger = logging.getLogger(__name__)

Pixels = NDArray[np.float32]  # (3, h, w), resized and normalised for the model

# A picture more than this many times as long as it is wide is padded: resized
# as it is, the model would have fewer cells to look at than boxes to propose,
# or a side of no pixels at all.
MAX_ASPECT = 16
# The mean colour of ImageNet, which normalisation turns into zeros.
_PADDING_RGB = (124, 116, 104)
# Pixels along a side of the finest cells the models look at.
_CELL_SIDE = 8


class Detector(Protocol):
    """Finds what phrases name.

    `device` is "cpu" or "cuda"; `batch_size` is how many images it looks at at once.
    """

    device: str
    batch_size: int

    def detect(
        self, images: Sequence[RGBImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        """All boxes and scores for each image, in order, before any threshold.

        `images` are uint8 (H, W, 3), each of its own size; `phrases[i]`, none of
        them empty, are asked of image i. Boxes are in pixels of the image given.
        No phrases, or none with a token, means no boxes. Raises BadRequest when a
        phrase is longer than the model can read, OutOfMemory when an image does not
        fit however coarsely the model looks at it.
        """
        ...


@dataclass(frozen=True, eq=False)
class _Pass:
    """One run of the model over one image: what is asked, and where the answer belongs."""

    image: int
    pixels: Pixels
    size_wh: tuple[int, int]
    caption: Caption


class BatchedDetector(ABC):
    """A Detector whose engine gives two methods: `prepare` one image, `run` a batch.

    A batch holds images of one resized shape only. So nothing is padded, and an
    answer does not depend on which images are asked together.
    """

    def __init__(
        self,
        captions: CaptionBuilder,
        device: str,
        batch_size: int | None,
        queries: int,
    ) -> None:
        """`batch_size` None means 1 on a CPU, where more is no faster, and 8 elsewhere.

        `queries` is how many boxes the model proposes for each image.
        """
        self.device = device
        self._captions = captions
        self._queries = queries
        self.batch_size = batch_size or (1 if device == "cpu" else 8)

    @abstractmethod
    def prepare(self, image: RGBImage) -> Pixels:
        """Resize and normalise one image."""

    @abstractmethod
    def run(
        self, pixels: NDArray[np.float32], captions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the model once on float32 (B, 3, h, w) and B captions.

        Returns float32 boxes (B, Q, 4), cxcywh as fractions of the image, and
        float32 token scores (B, Q, T) in [0, 1], 0 for padding. Raises OutOfMemory.
        """

    def detect(
        self, images: Sequence[RGBImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        """See Detector.detect."""
        captions = [self._captions.build(asked) for asked in phrases]
        found: list[list[Candidates]] = [[] for _ in images]
        waiting: dict[tuple[int, ...], list[_Pass]] = {}
        for index, (image, texts) in enumerate(zip(images, captions, strict=True)):
            if not texts:
                continue
            wide = widen(image)
            pixels = self.prepare(wide)
            for text in texts:
                group = waiting.setdefault(pixels.shape, [])
                group.append(_Pass(index, pixels, (wide.shape[1], wide.shape[0]), text))
                if len(group) == self.batch_size:
                    self._answer(waiting.pop(pixels.shape), found)
        for group in waiting.values():
            self._answer(group, found)
        return [join(parts, len(asked)) for parts, asked in zip(found, phrases, strict=True)]

    def _answer(self, group: Sequence[_Pass], found: list[list[Candidates]]) -> None:
        """Run one batch and add what it finds to `found`; in smaller steps if memory is short."""
        try:
            answers = self.run(
                np.stack([item.pixels for item in group]), [item.caption.text for item in group]
            )
        except MemoryError as error:  # OutOfMemory, or numpy's own from stacking
            smaller = _make_smaller(group, self._queries)
            if not smaller:
                raise OutOfMemory(str(error)) from error
        else:
            for item, boxes, token_scores in zip(group, *answers, strict=True):
                peaks, means = phrase_scores(token_scores, item.caption.tokens)
                caption = np.full(len(boxes), len(found[item.image]), np.intp)
                found[item.image].append(
                    Candidates(from_cxcywh(boxes, item.size_wh), peaks, means, caption)
                )
            return
        # Not inside `except`: the error would keep the failed run's arrays until the end.
        for part in smaller:
            self._answer(part, found)


def _make_smaller(group: Sequence[_Pass], queries: int) -> list[Sequence[_Pass]]:
    """What to run instead of a batch that did not fit: its halves, or its one image at half size.

    Nothing when that image would have fewer cells than `queries`: a model that
    proposes more boxes than it sees cells fails.
    """
    height, width = group[0].pixels.shape[1:]
    if len(group) > 1:
        middle = len(group) // 2
        logger.warning(
            "Out of memory on a batch of %d at %dx%d pixels: trying %d, then %d",
            len(group), width, height, middle, len(group) - middle,
        )  # fmt: skip
        return [group[:middle], group[middle:]]
    half_wh = (width // 2, height // 2)
    if (half_wh[0] // _CELL_SIDE) * (half_wh[1] // _CELL_SIDE) < queries:
        return []
    logger.warning(
        "Out of memory on one picture at %dx%d pixels: trying %dx%d", width, height, *half_wh
    )
    # Channel by channel: OpenCV wants them last.
    halves = [cv2.resize(one, half_wh, interpolation=cv2.INTER_AREA) for one in group[0].pixels]
    # Boxes are fractions of the image, so `size_wh` stays the image's own.
    return [[replace(group[0], pixels=np.asarray(np.stack(halves), np.float32))]]


def widen(image: RGBImage) -> RGBImage:
    """Pad a strip at its right or bottom to MAX_ASPECT; other images come back as they are.

    Pixels keep their coordinates, so boxes need no conversion back.
    """
    height, width = image.shape[:2]
    short = -(-max(height, width) // MAX_ASPECT)
    if min(height, width) >= short:
        return image
    padded = np.empty((max(height, short), max(width, short), 3), np.uint8)
    padded[:] = _PADDING_RGB
    padded[:height, :width] = image
    return padded


def join(parts: Sequence[Candidates], phrases: int) -> Candidates:
    """The candidates of several passes over one image as one; of no pass, none."""
    none = Candidates(
        np.zeros((0, 4), np.float32),
        np.zeros((0, phrases), np.float32),
        np.zeros((0, phrases), np.float32),
        np.zeros(0, np.intp),
    )
    return Candidates(
        np.concatenate([part.boxes for part in (none, *parts)]),
        np.concatenate([part.peaks for part in (none, *parts)]),
        np.concatenate([part.means for part in (none, *parts)]),
        np.concatenate([part.captions for part in (none, *parts)]),
    )


def refuse_keys(source: Path, missing: Collection[str], unexpected: Collection[str]) -> None:
    """Raise WeightsError, naming the first few, unless both are empty."""
    found = []
    for keys, problem in ((missing, "missing"), (unexpected, "not known to the model")):
        if keys:
            names = ", ".join(sorted(keys)[:3]) + (", ..." if len(keys) > 3 else "")
            found.append(f"{len(keys)} weights are {problem} ({names})")
    if found:
        raise WeightsError(f"{source} does not fit its model: {' and '.join(found)}.")
