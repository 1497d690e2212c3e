"""The arrays that travel between the steps, checked where they are made."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

RGBImage = NDArray[np.uint8]  # (H, W, 3), upright, 0 to 255
Boxes = NDArray[np.float32]  # (N, 4), xyxy in pixels, half-open
Scores = NDArray[np.float32]  # in [0, 1]
Masks = NDArray[np.bool_]  # (N, H, W), at the displayed size


def _check(name: str, array: NDArray[np.generic], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"{name} must be {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}"
        )


@dataclass(frozen=True, eq=False)
class Candidates:
    """All a detector saw in one image for P phrases, before any threshold.

    `boxes` (N, 4) may reach over the image's edge. `peaks` (N, P) is the highest
    score among a phrase's own tokens, the figure Grounding DINO's own predict()
    compares with its box threshold; `means` (N, P) is their mean, the figure its
    COCO evaluation ranks phrases by.
    `captions` (N,) tells which of the captions the phrases were asked in found a box;
    both scores are 0 for a phrase of another one.
    """

    boxes: Boxes
    peaks: Scores
    means: Scores
    captions: NDArray[np.intp]

    def __post_init__(self) -> None:
        count, phrases = len(self.boxes), self.peaks.shape[-1]
        _check("boxes", self.boxes, np.float32, (count, 4))
        _check("peaks", self.peaks, np.float32, (count, phrases))
        _check("means", self.means, np.float32, (count, phrases))
        _check("captions", self.captions, np.intp, (count,))


@dataclass(frozen=True, eq=False)
class Detections:
    """What is kept of one image: N boxes inside it, best score first.

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
