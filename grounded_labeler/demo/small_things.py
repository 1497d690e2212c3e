"""Small shapes in large images, with their truth: what tiles are for, and how much they find."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.inference import InferenceRequest
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.tiling import Tiling
from grounded_labeler.core.types import DecodedImage, Detections, Thresholds
from grounded_labeler.demo.matching import match
from grounded_labeler.demo.shapes import COLORS, KINDS, coverage_of, ground, tight_box
from grounded_labeler.models.pipeline import Pipeline

PROMPT = " . ".join(COLORS)


@dataclass(frozen=True)
class SmallFigures:
    """How many of the small things were found, of how many, and how much else."""

    right: int
    found: int
    things: int

    @property
    def precision(self) -> float:
        return self.right / max(self.found, 1)

    @property
    def recall(self) -> float:
        return self.right / max(self.things, 1)


@dataclass(frozen=True, eq=False)
class SmallThing:
    """One of many shapes of a large image; `box` is float32 (4,) xyxy in pixels, half-open."""

    color: str
    kind: str
    box: NDArray[np.float32]


def draw_small_things(
    rng: np.random.Generator,
    size_wh: tuple[int, int] = (4000, 3000),
    count: int = 30,
    sides: tuple[int, int] = (20, 60),
) -> tuple[NDArray[np.uint8], tuple[SmallThing, ...]]:
    """Draw a large image, uint8 RGB (H, W, 3), with `count` shapes that do not touch.

    Their circles are between the two `sides` across, in pixels. The same generator state gives
    the same image.
    """
    width, height = size_wh
    canvas = ground(rng, width, height)
    placed: list[tuple[float, float, float]] = []
    things = []
    while len(placed) < count:
        radius = rng.uniform(*sides) / 2
        x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
        if any(np.hypot(x - a, y - b) < radius + other + 6 for a, b, other in placed):
            continue
        placed.append((x, y, radius))
        color, kind = str(rng.choice(list(COLORS))), str(rng.choice(list(KINDS)))
        # Only a window around the shape is drawn: the whole image 30 times would take minutes.
        left, top, side = int(x - radius) - 2, int(y - radius) - 2, int(2 * radius) + 6
        outlines = KINDS[kind](rng, radius)
        alpha = coverage_of(outlines, (x - left, y - top), side, side)
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
        alpha = alpha[y0 - top : y1 - top, x0 - left : x1 - left]
        paint = np.array(COLORS[color]) + rng.normal(0, 9, 3)
        grain = rng.normal(0, 5, (*alpha.shape, 1))
        canvas[y0:y1, x0:x1] *= 1 - alpha[:, :, None]
        canvas[y0:y1, x0:x1] += (paint + grain) * alpha[:, :, None]
        corner = np.array([x0, y0, x0, y0], np.float32)
        things.append(SmallThing(color, kind, tight_box(alpha >= 0.5) + corner))
    return canvas.clip(0, 255).astype(np.uint8), tuple(things)


def measure_small_things(
    pipeline: Pipeline, limits: Thresholds, tiling: Tiling | None, images: int, seed: int
) -> SmallFigures:
    """Ask for all colours in images of 4000x3000 with 30 shapes of 20 to 60 pixels each."""
    right = found = things = 0
    for number in range(images):
        pixels, truth = draw_small_things(np.random.default_rng(seed + number))
        request = InferenceRequest(
            DecodedImage.of(pixels),
            parse_prompt(PROMPT, ()),
            (),
            limits,
            with_masks=False,
            tiling=tiling,
        )
        [result] = pipeline.run([request])
        right += count_right(result.detections, truth)
        found += len(result.detections)
        things += len(truth)
    return SmallFigures(right, found, things)


def count_right(detections: Detections, things: Sequence[SmallThing]) -> int:
    """Count the things that a detection of their colour covers by IoU 0.5, each once."""
    boxes = np.stack([thing.box for thing in things])
    return len(match(detections, boxes, lambda i, phrase: things[i].color == phrase))
