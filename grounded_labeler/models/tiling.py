"""Detectors around a detector: one keeps what was found, one also looks at tiles."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.cache import Cache
from grounded_labeler.core.boxes import clip_boxes
from grounded_labeler.core.passes import join
from grounded_labeler.core.tiling import Rectangle, Tiling
from grounded_labeler.core.time_limit import NO_LIMIT, TimeLimit
from grounded_labeler.core.types import Candidates, DecodedImage, Scores, TileCount, Views
from grounded_labeler.core.views import are_cut, are_whole_elsewhere
from grounded_labeler.models.detectors import Detector

logger = logging.getLogger(__name__)

# Tiles bring hundreds of candidates each; below this score they are noise. The whole image, whose
# best scores people read, keeps all of its own.
_MIN_SCORE = 0.05


class CachingDetector:
    """A Detector that keeps the candidates of another one in a cache.

    Candidates of a downscaled image are not kept: the next request runs the detector on all
    pixels.
    """

    def __init__(self, inner: Detector, cache: Cache) -> None:
        self._inner, self._cache = inner, cache
        self.device, self.batch_size = inner.device, inner.batch_size
        self.longest = inner.longest

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        """See Detector.detect."""
        keys = [
            ("candidates", image.key, *texts) for image, texts in zip(images, phrases, strict=True)
        ]
        seen = [self._cache.get(key) for key in keys]
        new = [i for i, known in enumerate(seen) if known is None]
        if new:
            answers = self._inner.detect([images[i] for i in new], [phrases[i] for i in new])
            for i, answer in zip(new, answers, strict=True):
                if not answer.is_coarse:
                    self._cache.put(keys[i], answer, answer.nbytes)
                seen[i] = answer
        return cast(list[Candidates], seen)

    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        """See Detector.embed."""
        return self._inner.embed(images)

    def release(self) -> None:
        """See Detector.release."""
        self._inner.release()


class TiledDetector:
    """A Detector that has another one look at the whole of each image and at its tiles.

    Each tile is an image with a key of its own, so that the other's caches, batches and memory
    fallbacks serve tiles as they serve images. The method is that of "Slicing Aided Hyper
    Inference" (Akyon et al., 2022), with the geometry of tiles telling most parts from objects.
    """

    def __init__(self, inner: Detector, tiling: Tiling, limit: TimeLimit = NO_LIMIT) -> None:
        """Cut images by `tiling`; once `limit` is past, no more tiles are looked at."""
        self._inner, self._tiling, self._limit = inner, tiling, limit
        self.device, self.batch_size = inner.device, inner.batch_size
        self.longest = inner.longest

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        """Return the candidates of all views of each image, as `Detector.detect` does.

        All whole images are first, then come tiles, a batch at a time while the time lasts for
        another one. An image that has no tiles has no `views`.
        """
        tiles = [self._tiles(image) for image in images]
        found = [[whole] for whole in self._inner.detect(images, phrases)]
        todo = [(i, tile) for i, own in enumerate(tiles) for tile in own]
        for batch in self._while_time_lasts(todo):
            answers = self._inner.detect(
                [_cut_out(images[i], tile) for i, tile in batch], [phrases[i] for i, _ in batch]
            )
            for (i, tile), answer in zip(batch, answers, strict=True):
                found[i].append(_in_image(_without_noise(answer), tile))
        wanted, done = len(todo), sum(map(len, found)) - len(images)
        if done < wanted:
            logger.warning("There was time for %d of %d tiles", done, wanted)
        return [
            self._joined(image, views, own) if own else views[0]
            for image, views, own in zip(images, found, tiles, strict=True)
        ]

    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        """See Detector.embed."""
        return self._inner.embed(images)

    def release(self) -> None:
        """See Detector.release."""
        self._inner.release()

    def _tiles(self, image: DecodedImage) -> list[Rectangle]:
        height, width = image.pixels.shape[:2]
        return self._tiling.tiles((width, height), self.longest)

    def _while_time_lasts(
        self, todo: Sequence[tuple[int, Rectangle]]
    ) -> Iterator[Sequence[tuple[int, Rectangle]]]:
        """Yield `todo` in batches, as long as the time left is enough for the longest so far."""
        longest = 0.0
        for first in range(0, len(todo), self.batch_size):
            before = self._limit.left()
            if before <= longest:
                return
            yield todo[first : first + self.batch_size]
            # Infinity less infinity is no number: without a limit nothing is timed.
            longest = max(longest, before - self._limit.left()) if np.isfinite(before) else 0.0

    def _joined(
        self, image: DecodedImage, found: Sequence[Candidates], tiles: Sequence[Rectangle]
    ) -> Candidates:
        """All candidates of the whole image and of the first of its tiles, as many as were done."""
        height, width = image.pixels.shape[:2]
        whole, *parts = found
        seen = tiles[: len(parts)]
        kept = [whole]
        cut = [np.zeros(len(whole), np.bool_)]
        for number, part in enumerate(parts):
            # Of what no other tile was looked at, parts are better than nothing.
            is_part = are_whole_elsewhere(part.boxes, number, seen, (width, height))
            kept.append(part.subset(np.flatnonzero(~is_part)))
            cut.append(are_cut(kept[-1].boxes, seen[number], (width, height)))
        frames = np.array([(0, 0, width, height), *seen], np.float32)
        frames = frames.repeat([len(view) for view in kept], axis=0)
        views = Views(frames, np.concatenate(cut), TileCount(len(parts), len(tiles)))
        joined = join(kept, whole.peaks.shape[1])
        return replace(
            joined,
            presence=_highest_presence(found),
            scores_tokens=whole.scores_tokens,
            views=views,
        )


def look_inside(
    detector: Detector, image: DecodedImage, rectangle: Rectangle, phrases: Sequence[str]
) -> Candidates:
    """Return what `detector` finds inside a rectangle of an image, at all its pixels.

    Boxes are in pixels of the image, cut off at the rectangle.
    """
    [found] = detector.detect([_cut_out(image, rectangle)], [phrases])
    return _in_image(found, rectangle)


def _cut_out(image: DecodedImage, rectangle: Rectangle) -> DecodedImage:
    x0, y0, x1, y1 = rectangle
    pixels = np.ascontiguousarray(image.pixels[y0:y1, x0:x1])
    return DecodedImage(pixels, f"{image.key}[{x0},{y0},{x1},{y1}]")


def _without_noise(found: Candidates) -> Candidates:
    """The candidates worth keeping: all of 1,000 tiles for 300 phrases are two gigabytes."""
    return found.subset(np.flatnonzero(found.peaks.max(axis=1, initial=0) >= _MIN_SCORE))


def _in_image(found: Candidates, rectangle: Rectangle) -> Candidates:
    """The candidates with boxes in pixels of the image that the rectangle was cut out of.

    Boxes are cut off at the rectangle.
    """
    x0, y0, x1, y1 = rectangle
    inside = clip_boxes(found.boxes, (x1 - x0, y1 - y0))
    return replace(found, boxes=inside + np.array([x0, y0] * 2, np.float32))


def _highest_presence(views: Sequence[Candidates]) -> Scores | None:
    """How likely each phrase is in any view; None where the detector does not say."""
    presences: list[NDArray[np.float32]] = [
        view.presence for view in views if view.presence is not None
    ]
    return np.stack(presences).max(axis=0) if presences else None
