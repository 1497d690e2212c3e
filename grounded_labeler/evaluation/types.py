"""What is measured: what people say is in an image, and what a detector found in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.coco import CocoRle
from grounded_labeler.core.types import Boxes, Scores

# Of a label in an image at a threshold, in the last axis of an array of counts.
FOUND, WRONG, MISSED = 0, 1, 2

Counts = NDArray[np.int64]  # (images, thresholds, labels, 3)


def _check(name: str, values: Sequence[object] | NDArray[np.generic], count: int) -> None:
    if len(values) != count:
        raise ValueError(f"{name} must have {count} entries, got {len(values)}")


@dataclass(frozen=True, eq=False)
class Truth:
    """The objects that people say are in one image of `size_hw`, height and width in pixels.

    Attributes:
        boxes: float32 (T, 4), xyxy in pixels of the displayed image, half-open.
        labels: the label of each object.
        masks: the mask of each object, None for an object that only has a box.
        is_crowd: bool (T,), which of them are groups, as COCO's `iscrowd`: who finds something
            there is neither right nor wrong.
        size_hw: height and width of the displayed image in pixels.
    """

    boxes: Boxes
    labels: tuple[str, ...]
    masks: tuple[CocoRle | None, ...]
    is_crowd: NDArray[np.bool_]
    size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        if self.boxes.dtype != np.float32 or self.boxes.shape != (len(self.labels), 4):
            raise ValueError(f"boxes must be float32 ({len(self.labels)}, 4)")
        _check("masks", self.masks, len(self.labels))
        _check("is_crowd", self.is_crowd, len(self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def has_masks(self) -> bool:
        """Whether any object has a mask."""
        return any(mask is not None for mask in self.masks)

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> Self:
        """An image that people say has nothing in it."""
        return cls(np.zeros((0, 4), np.float32), (), (), np.zeros(0, np.bool_), size_hw)


@dataclass(frozen=True, eq=False)
class Found:
    """The labelled objects that a detector found in one image, best score first.

    Attributes:
        boxes: float32 (N, 4), xyxy in pixels of the displayed image, half-open.
        scores: float32 (N,), in [0, 1].
        labels: the label of each object, or the phrase that no label fits.
        masks: the mask of each object; None without masks.
    """

    boxes: Boxes
    scores: Scores
    labels: tuple[str, ...]
    masks: tuple[CocoRle, ...] | None = None

    def __post_init__(self) -> None:
        if self.boxes.dtype != np.float32 or self.boxes.shape != (len(self.labels), 4):
            raise ValueError(f"boxes must be float32 ({len(self.labels)}, 4)")
        _check("scores", self.scores, len(self.labels))
        if self.masks is not None:
            _check("masks", self.masks, len(self.labels))

    def __len__(self) -> int:
        return len(self.labels)
