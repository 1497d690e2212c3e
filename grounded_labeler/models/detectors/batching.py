"""Batches of images of one shape."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from grounded_labeler.core.types import DecodedImage
from grounded_labeler.models.detectors.caption import Caption
from grounded_labeler.models.runtime.graph import Arrays

Item = TypeVar("Item")


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
    items: Iterable[Item], shape: Callable[[Item], Hashable], size: int
) -> Iterator[list[Item]]:
    """Group items of one `shape`, at most `size` in each group; full groups come first."""
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
