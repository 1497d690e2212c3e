"""What tiles cost: a detector's time for a large image grows as the number of views."""

import statistics
import time

import numpy as np

from benchmarks.bench import Bench
from benchmarks.report import Record
from grounded_labeler.core.tiling import Tiling
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.models.detectors import Detector
from grounded_labeler.models.tiling import TiledDetector

_SIZE_WH = (4000, 3000)
_TILINGS = (Tiling(), Tiling(2000))
_PHRASES = ["cat", "dog"]


def measure(bench: Bench) -> list[Record]:
    """A record for each tiling: the whole image alone and with tiles, in turns.

    "over views" is how many times the whole image's seconds all of it takes, over the number of
    views: 1 where nothing is lost. A square tile has three quarters of the pixels of a whole
    image of 4:3 as the detector sees it.
    """
    detector = bench.ours.detector
    rng = np.random.default_rng(bench.rounds)
    records: list[Record] = []
    for tiling in _TILINGS[-1:] if bench.is_quick else _TILINGS:
        width, height = _SIZE_WH
        count = len(tiling.tiles(_SIZE_WH, detector.longest))
        bench.say(f"tiles: {width}x{height} with {count}")
        tiled = TiledDetector(detector, tiling)
        _seconds(detector, rng)
        whole, views, tiles = [], [], []
        for _ in range(bench.rounds):
            whole.append(_seconds(detector, rng))
            views.append(_seconds(tiled, rng))
            side = round((width * height / max(count, 1)) ** 0.5)
            tiles.append(_seconds(detector, rng, (side, side)))
        alone, all_of_it, one = map(statistics.median, (whole, views, tiles))
        records.append(
            {
                "image": f"{width}x{height}",
                "tiles": count,
                "whole, s": alone,
                "one tile, s": one,
                "with tiles, s": all_of_it,
                "over views": all_of_it / (alone * (count + 1)),
                "over the sum of its views": all_of_it / (alone + count * one),
            }
        )
    return records


def _seconds(
    detector: Detector, rng: np.random.Generator, size_wh: tuple[int, int] = _SIZE_WH
) -> float:
    """The time of one request for an image that nobody has seen."""
    width, height = size_wh
    image = DecodedImage.of(rng.integers(0, 256, (height, width, 3), np.uint8))
    begin = time.perf_counter()
    detector.detect([image], [_PHRASES])
    return time.perf_counter() - begin
