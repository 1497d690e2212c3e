"""The steps all detectors share: captions, batches, what is kept, boxes in pixels."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.boxes import from_cxcywh
from grounded_labeler.core.types import Candidates, DecodedImage, RGBImage
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.detectors import GPU_BATCH
from grounded_labeler.models.detectors.caption import Caption, CaptionBuilder, phrase_scores
from grounded_labeler.models.detectors.preprocess import (
    CELL_SIDE,
    MAX_ASPECT,
    Pixels,
    halve,
    pad_to_aspect,
    widened_hw,
)
from grounded_labeler.models.runtime.graph import Tensors
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class _View:
    """What the backbone makes of an image, a batch of one, and how finely it looked.

    `size_wh` is that of the pixels it saw, halved `halvings` times in each direction.
    """

    features: Tensors
    size_wh: tuple[int, int]
    halvings: int


@dataclass(frozen=True, eq=False)
class _Pass:
    """One run of the model over one image: what is asked, and where the answer belongs."""

    index: int
    image: DecodedImage
    view: _View
    caption: Caption


class BatchedDetector(ABC):
    """A Detector whose engine gives four methods: `prepare`, `look`, `read` and `ask`.

    A batch holds images of one resized shape only. So nothing is padded, and an
    answer does not depend on which images are asked together. What `look` and `read`
    make is kept in the cache: another prompt on the same image is only asked.
    """

    def __init__(
        self,
        captions: CaptionBuilder,
        device: str,
        batch_size: int | None,
        queries: int,
        cache: ByteCache,
        *,
        aspect: float = MAX_ASPECT,
    ) -> None:
        """`batch_size` None means 1 on a CPU, where more is no faster, and 8 elsewhere.

        `queries` is how many boxes the model proposes for each image; those more than
        `aspect` times as long as wide are widened.
        """
        self.device = device
        self._captions = captions
        self._queries = queries
        self._cache = cache
        self._aspect = aspect
        self.batch_size = batch_size or (1 if device == "cpu" else GPU_BATCH)

    @abstractmethod
    def prepare(self, image: RGBImage) -> Pixels:
        """Resize and normalise one image."""

    @abstractmethod
    def look(self, pixels: NDArray[np.float32]) -> Tensors:
        """What the backbone makes of float32 (B, 3, h, w): a tensor a level, batch first."""

    @abstractmethod
    def read(self, captions: Sequence[str]) -> Tensors:
        """What the text encoder makes of B captions: some tensors, batch first."""

    @abstractmethod
    def ask(
        self, features: Sequence[Tensors], text: Tensors
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What B captions find: `features` of B images of one size, each as `look` gave them.

        Returns float32 boxes (B, Q, 4), cxcywh as fractions of the image, and
        float32 token scores (B, Q, T) in [0, 1], 0 for padding.
        """

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        """See Detector.detect."""
        captions = [self._captions.build(texts) for texts in phrases]
        asked = [index for index, texts in enumerate(captions) if texts]
        views = self._views([images[index] for index in asked])
        passes = [
            _Pass(index, images[index], views[images[index].key], caption)
            for index in asked
            for caption in captions[index]
        ]
        found: list[list[Candidates]] = [[] for _ in images]
        for group in in_batches(passes, lambda item: item.view.size_wh, self.batch_size):
            self._answer(group, found)
        return [join(parts, len(texts)) for parts, texts in zip(found, phrases, strict=True)]

    def _views(self, images: Sequence[DecodedImage], halvings: int = 0) -> dict[str, _View]:
        """A view of each image, kept or made now, by the image's key."""
        views: dict[str, _View] = {}
        unseen: dict[str, tuple[DecodedImage, Pixels]] = {}
        for picture in images:
            key = picture.key
            if key in views or key in unseen:
                continue
            view = self._cache.get(("features", key, halvings))
            if view is None:
                unseen[key] = (picture, self._pixels(picture, halvings))
            else:
                views[key] = view
        for group in in_batches(unseen.values(), lambda item: item[1].shape, self.batch_size):
            views |= self._look_at(group, halvings)
        return views

    def _pixels(self, picture: DecodedImage, halvings: int) -> Pixels:
        pixels = self.prepare(pad_to_aspect(picture.pixels, self._aspect))
        for _ in range(halvings):
            pixels = halve(pixels)
        return pixels

    def _look_at(
        self, group: Sequence[tuple[DecodedImage, Pixels]], halvings: int
    ) -> dict[str, _View]:
        """Views of images of one shape; in smaller steps if memory is short."""
        height, width = group[0][1].shape[1:]
        try:
            seen = _apart(self.look(np.stack([pixels for _, pixels in group])))
        except MemoryError as error:  # OutOfMemory, or numpy's own from stacking
            if not self._can_go_on(len(group), (width, height)):
                raise OutOfMemory(str(error)) from error
        else:
            views = {}
            for (picture, _), features in zip(group, seen, strict=True):
                view = _View(features, (width, height), halvings)
                nbytes = sum(level.nbytes for level in features)
                self._cache.put(("features", picture.key, halvings), view, nbytes)
                views[picture.key] = view
            return views
        # Not inside `except`: the error would keep the failed run's arrays until the end.
        if len(group) == 1:
            return self._views([group[0][0]], halvings + 1)
        return {
            key: view
            for half in in_halves(group)
            for key, view in self._look_at(half, halvings).items()
        }

    def _answer(self, group: Sequence[_Pass], found: list[list[Candidates]]) -> None:
        """Ask one batch and add what it finds to `found`; in smaller steps if memory is short."""
        try:
            answers = self._ask(group)
        except MemoryError as error:
            if not self._can_go_on(len(group), group[0].view.size_wh):
                raise OutOfMemory(str(error)) from error
        else:
            for item, boxes, token_scores in zip(group, *answers, strict=True):
                peaks, means = phrase_scores(token_scores, item.caption.tokens)
                caption = np.full(len(boxes), len(found[item.index]), np.intp)
                height, width = widened_hw(item.image.pixels.shape[:2], self._aspect)
                found[item.index].append(
                    Candidates(
                        from_cxcywh(boxes, (width, height)), peaks, means, caption,
                        is_coarse=item.view.halvings > 0,
                    )
                )  # fmt: skip
            return
        if len(group) == 1:
            [item] = group
            coarser = self._views([item.image], item.view.halvings + 1)
            self._answer([replace(item, view=coarser[item.image.key])], found)
        else:
            for half in in_halves(group):
                self._answer(half, found)

    def _ask(self, group: Sequence[_Pass]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        captions = tuple(item.caption.text for item in group)
        text = self._cache.get(("text", captions))
        if text is None:
            text = self.read(captions)
            self._cache.put(("text", captions), text, sum(part.nbytes for part in text))
        return self.ask([item.view.features for item in group], text)

    def _can_go_on(self, count: int, size_wh: tuple[int, int]) -> bool:
        """Whether a batch that did not fit can be halved, or its one image be looked at coarser.

        Not when that would leave fewer cells than the model proposes boxes: it fails then.
        """
        self._cache.clear()  # on a GPU it holds the very memory that is short
        width, height = size_wh
        if count > 1:
            logger.warning(
                "Out of memory on a batch of %d at %dx%d pixels: trying %d, then %d",
                count, width, height, count // 2, count - count // 2,
            )  # fmt: skip
            return True
        half_wh = (width // 2, height // 2)
        if (half_wh[0] // CELL_SIDE) * (half_wh[1] // CELL_SIDE) < self._queries:
            return False
        logger.warning(
            "Out of memory on one image at %dx%d pixels: trying %dx%d", width, height, *half_wh
        )
        return True


@translate_memory_errors()
def _apart(levels: Tensors) -> list[Tensors]:
    """Each image's own features, copied: a view would keep those of the whole batch."""
    count = len(levels[0])
    if count == 1:
        return [levels]
    return [tuple(level[place : place + 1].clone() for level in levels) for place in range(count)]


def in_batches(
    items: Iterable[Item], shape: Callable[[Item], Hashable], size: int
) -> Iterator[list[Item]]:
    """The items in groups of one `shape`, at most `size` in each, full ones first."""
    waiting: dict[Hashable, list[Item]] = {}
    for item in items:
        group = waiting.setdefault(shape(item), [])
        group.append(item)
        if len(group) == size:
            yield waiting.pop(shape(item))
    yield from waiting.values()


def in_halves(items: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
    middle = len(items) // 2
    return items[:middle], items[middle:]


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
        is_coarse=any(part.is_coarse for part in parts),
    )
