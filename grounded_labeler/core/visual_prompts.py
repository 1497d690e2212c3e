"""What a segmenter is shown of an object: a box around it, clicks on and off it, or both."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Boxes

Points = NDArray[np.float32]  # (N, P, 2), xy in pixels


@dataclass(frozen=True, eq=False)
class VisualPrompts:
    """The prompts of N objects of one image, all of one kind.

    `boxes` is float32 (N, 4) xyxy in the image's pixels, or None. `points` is float32
    (N, P, 2) xy in the same pixels, in the order of the clicks; P may be 0 where there are
    boxes. `are_positive` is bool (N, P): a positive point lies on the object, a negative one
    off it. Raises ValueError where the shapes do not fit or an object has no prompt.
    """

    boxes: Boxes | None
    points: Points
    are_positive: NDArray[np.bool_]

    def __post_init__(self) -> None:
        count, clicks = self.points.shape[:2]
        if self.points.dtype != np.float32 or self.points.shape != (count, clicks, 2):
            raise ValueError(
                f"points must be float32 (N, P, 2), got {self.points.dtype} {self.points.shape}"
            )
        if self.are_positive.dtype != np.bool_ or self.are_positive.shape != (count, clicks):
            raise ValueError(f"are_positive must be bool {(count, clicks)}")
        if self.boxes is None and not clicks:
            raise ValueError("a prompt without a box must have a point")
        if self.boxes is not None and self.boxes.shape != (count, 4):
            raise ValueError(f"boxes must be ({count}, 4), got {self.boxes.shape}")

    @classmethod
    def of_boxes(cls, boxes: Boxes) -> Self:
        """A box, float32 (4,), for each of N objects; N may be 0."""
        count = len(boxes)
        return cls(boxes, np.zeros((count, 0, 2), np.float32), np.zeros((count, 0), np.bool_))

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, part: slice) -> Self:
        """The prompts of some of the objects."""
        boxes = None if self.boxes is None else self.boxes[part]
        return replace(
            self, boxes=boxes, points=self.points[part], are_positive=self.are_positive[part]
        )

    @property
    def is_ambiguous(self) -> bool:
        """One point alone may mean an object, a part of it or what it is a part of."""
        return self.boxes is None and self.points.shape[1] == 1

    def without_last_click(self) -> Self | None:
        """The prompts as they were before the last click; None where there was nothing."""
        if not self.points.shape[1] or self.is_ambiguous:
            return None
        return replace(self, points=self.points[:, :-1], are_positive=self.are_positive[:, :-1])

    def key(self) -> bytes:
        """Equal for equal prompts."""
        boxes = b"" if self.boxes is None else self.boxes.tobytes()
        return boxes + b"|" + self.points.tobytes() + b"|" + self.are_positive.tobytes()


@dataclass(frozen=True, eq=False)
class Segment:
    """The mask of one object and the model's own guess at its IoU, about in [0, 1]."""

    mask: Mask
    score: float
