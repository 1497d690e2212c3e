"""Batches of images of one shape, and smaller ones where memory is short."""

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from grounded_labeler.cache import Cache
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.detectors.caption import Caption
from grounded_labeler.models.runtime.graph import Arrays, Graphs

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Output = TypeVar("Output")


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """The image encoder's output for one image.

    Attributes:
        levels: one array a level, each a batch of one.
        size_wh: width and height in pixels of the encoder's input.
        downscale_steps: how often that input was halved because memory was short.
    """

    levels: Arrays
    size_wh: tuple[int, int]
    downscale_steps: int

    @property
    def nbytes(self) -> int:
        return sum(level.nbytes for level in self.levels)


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """One run of the fusion stage: an image, its features, and one caption.

    `index` is the position of the image in the request.
    """

    index: int
    image: DecodedImage
    features: ImageFeatures
    caption: Caption


def in_batches(
    items: Iterable[Item], shape: Callable[[Item], Hashable], size: int, least: int = 1
) -> Iterator[list[Item]]:
    """Group items of one `shape`, at most `size` in each group; full groups come first.

    Fewer than `least` come one by one, unless `size` is less.
    """
    waiting: dict[Hashable, list[Item]] = {}
    for item in items:
        group = waiting.setdefault(shape(item), [])
        group.append(item)
        if len(group) == size:
            yield waiting.pop(shape(item))
    for group in waiting.values():
        if len(group) < min(least, size):
            yield from ([item] for item in group)
        else:
            yield group


def holders_of(cache: Cache, graphs: Graphs, device: str) -> Sequence[Callable[[], None]]:
    """Return what gives memory back at once, to be had again: on a GPU, recordings as well.

    A graph of OpenVINO that is released takes memory again, to be ready.
    """
    return (cache.clear,) if device == "cpu" else (cache.clear, graphs.release)


def run_what_fits(
    run: Callable[[Sequence[Item]], Output],
    batch: Sequence[Item],
    holders: Sequence[Callable[[], None]],
    named: str,
) -> Iterator[tuple[Sequence[Item], Output | OutOfMemory]]:
    """Run a batch, or halves of it, and halves of these, where memory is short.

    Args:
        run: takes part of the batch; raises MemoryError where that does not fit.
        batch: the items, one at least.
        holders: called where memory is short: each gives back what can be had again, which on a
            GPU may be that very memory.
        named: what the log says after the number of items.

    Yields:
        Each part that was run, in order, with its output; an item that does not fit alone with
        the error, which holds none of the failed run's arrays.
    """
    try:
        output: Output | OutOfMemory = run(batch)
    except MemoryError as error:
        for give_back in holders:
            give_back()
        output = OutOfMemory(str(error))
    # Not inside `except`: the error would keep the failed run's arrays until the end.
    if len(batch) == 1 or not isinstance(output, OutOfMemory):
        yield batch, output
        return
    middle = len(batch) // 2
    logger.warning(
        "Out of memory on a batch of %d %s: trying %d, then %d",
        len(batch), named, middle, len(batch) - middle,
    )  # fmt: skip
    for half in (batch[:middle], batch[middle:]):
        yield from run_what_fits(run, half, holders, named)
