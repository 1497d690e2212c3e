"""Batches of images of one shape."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from grounded_labeler.core.types import DecodedImage
from grounded_labeler.models.detectors.caption import Caption
from grounded_labeler.models.runtime.graph import Tensors
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """The image encoder's output for one image.

    Attributes:
        levels: one tensor a level, each a batch of one.
        size_wh: width and height in pixels of the encoder's input.
        downscale_steps: how often that input was halved because memory was short.
    """

    levels: Tensors
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


@translate_memory_errors()
def split_batch(levels: Tensors) -> list[Tensors]:
    """Copy each image's own features out of a batch; a view would hold the whole batch."""
    count = len(levels[0])
    if count == 1:
        return [levels]
    return [tuple(level[row : row + 1].clone() for level in levels) for row in range(count)]


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
