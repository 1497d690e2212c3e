"""Scenes of a few objects and detections, drawn by chance, for comparisons with pycocotools."""

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.coco import CocoRle, coco_rle
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Boxes
from grounded_labeler.evaluation.types import Found, Truth

SIZE_HW = (120, 160)


def boxes(*rows: tuple[float, float, float, float]) -> Boxes:
    return np.array(rows, np.float32).reshape(-1, 4)


def truth(*objects: tuple[str, tuple[float, float, float, float]], crowds: int = 0) -> Truth:
    """Objects with a mask of their box, the last `crowds` of them crowds."""
    rows = boxes(*(box for _, box in objects))
    return Truth(
        rows,
        tuple(label for label, _ in objects),
        tuple(mask_of(row) for row in rows),
        np.arange(len(rows)) >= len(rows) - crowds,
        SIZE_HW,
    )


def found(*objects: tuple[str, tuple[float, float, float, float]]) -> Found:
    """Detections with a mask of their box, best score first."""
    rows = boxes(*(box for _, box in objects))
    scores = np.linspace(0.9, 0.1, len(rows), dtype=np.float32)
    return Found(rows, scores, tuple(label for label, _ in objects), tuple(map(mask_of, rows)))


def mask_of(box: NDArray[np.float32], cut: int = 0) -> CocoRle:
    """The mask of a box with whole corners inside the image, but for `cut` columns."""
    x0, y0, x1, y1 = (int(corner) for corner in box)
    pixels = np.ones((y1 - y0, x1 - x0 - cut), np.bool_)
    return coco_rle(Mask(pixels, x0, y0, SIZE_HW))


def chance_scene(
    rng: np.random.Generator, labels: tuple[str, ...], *, most: int = 6
) -> tuple[Truth, Found]:
    """Any number of objects up to `most`, and detections near them or anywhere."""
    true = np.array([_chance_box(rng) for _ in range(rng.integers(0, most + 1))], np.float32)
    true = true.reshape(-1, 4)
    near = true.repeat(2, axis=0) + rng.integers(-4, 5, (2 * len(true), 4))
    near = near[rng.random(len(near)) < 0.7].clip(0, [159, 119, 160, 120])
    others = [_chance_box(rng) for _ in range(rng.integers(0, 3))]
    rows = np.array([*near, *others], np.float32).reshape(-1, 4)
    rows = rows[(rows[:, 2] - rows[:, 0] > 2) & (rows[:, 3] - rows[:, 1] > 2)]
    scores = np.sort(rng.integers(1, 20, len(rows)) / 20)[::-1].astype(np.float32)
    return (
        Truth(
            true,
            tuple(rng.choice(labels, len(true)).tolist()),
            tuple(mask_of(box, int(rng.integers(0, 2))) for box in true),
            rng.random(len(true)) < 0.2,
            SIZE_HW,
        ),
        Found(
            rows,
            scores,
            tuple(rng.choice(labels, len(rows)).tolist()),
            tuple(mask_of(box, int(rng.integers(0, 2))) for box in rows),
        ),
    )


def _chance_box(rng: np.random.Generator) -> NDArray[np.int64]:
    sides = rng.integers(4, 115, 2)
    corner = rng.integers(0, np.array([160, 120]) - sides + 1)
    return np.concatenate([corner, corner + sides])
