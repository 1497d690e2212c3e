"""Images of coloured shapes on textured grounds, drawn with their truth.

The demo models are trained on these images, and the tests check against
their truth: every shape comes with its words, its box and its mask.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 45),
    "green": (45, 165, 65),
    "blue": (45, 80, 215),
    "yellow": (235, 212, 45),
    "purple": (145, 55, 180),
    "orange": (240, 130, 30),
}

# Shapes are drawn this many times larger and then reduced, for smooth edges
# and for masks that are right to a fraction of a pixel.
_OVERSAMPLING = 4
_PLACING_TRIES = 60


@dataclass(frozen=True, eq=False)
class Shape:
    """One drawn shape and its truth.

    `box` is float32 (4,) xyxy in pixels, half-open; `mask` is bool (H, W).
    """

    color: str
    kind: str
    box: NDArray[np.float32]
    mask: NDArray[np.bool_]

    @property
    def name(self) -> str:
        return f"{self.color} {self.kind}"

    def matches(self, phrase: str) -> bool:
        """Whether `phrase` names this shape: "red circle", "circles", "red", "shape"."""
        own_words = {self.color, self.kind, f"{self.kind}s", "shape", "shapes"}
        words = phrase.lower().split()
        return bool(words) and own_words.issuperset(words)


@dataclass(frozen=True, eq=False)
class DrawnImage:
    """`image` is uint8 RGB (H, W, 3); `shapes` do not touch each other."""

    image: NDArray[np.uint8]
    shapes: tuple[Shape, ...]

    def named(self, phrase: str) -> tuple[Shape, ...]:
        return tuple(shape for shape in self.shapes if shape.matches(phrase))


def draw_image(
    rng: np.random.Generator,
    size_wh: tuple[int, int] = (320, 240),
    max_shapes: int = 5,
    kinds: Sequence[str] = (),
) -> DrawnImage:
    """Draw 1 to `max_shapes` shapes; fewer than drawn lots when they do not fit.

    The same generator state gives the same image. `kinds` are drawn in place of those that the
    demo models know, a kind that is named twice twice as often.
    """
    width, height = size_wh
    canvas = ground(rng, width, height)
    grain = rng.normal(0, 5, (height, width, 1))
    shapes: list[Shape] = []
    for center, radius in _place(rng, width, height, int(rng.integers(1, max_shapes + 1))):
        color = str(rng.choice(list(COLORS)))
        kind = str(rng.choice(list(kinds or KINDS)))
        draw = KINDS.get(kind) or OTHER_KINDS[kind]
        coverage = coverage_of(draw(rng, radius), center, width, height)
        paint = np.array(COLORS[color]) + rng.normal(0, 9, 3)
        alpha = coverage[:, :, None]
        canvas = canvas * (1 - alpha) + (paint + grain) * alpha
        mask = coverage >= 0.5
        shapes.append(Shape(color, kind, tight_box(mask), mask))
    return DrawnImage(canvas.clip(0, 255).astype(np.uint8), tuple(shapes))


def ground(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    """Draw a muted ground, float64 (H, W, 3): coarse blotches, fine grain, sometimes stripes."""
    blotches = rng.normal(0, 1, (int(rng.integers(3, 9)), int(rng.integers(3, 9))))
    texture = cv2.resize(blotches, (width, height), interpolation=cv2.INTER_CUBIC)
    texture = texture * rng.uniform(6, 20)
    if rng.random() < 0.4:
        angle, period = rng.uniform(0, np.pi), rng.uniform(0.05, 0.3) * min(width, height)
        y, x = np.mgrid[:height, :width]
        along = x * np.cos(angle) + y * np.sin(angle)
        texture = texture + rng.uniform(4, 14) * np.sin(2 * np.pi * along / period)
    grain = rng.normal(0, rng.uniform(2, 8), (height, width, 1))
    tint: NDArray[np.float64] = rng.uniform(70, 200) + rng.normal(0, 8, 3)
    return tint + texture[:, :, None] + grain


def _place(
    rng: np.random.Generator, width: int, height: int, count: int
) -> list[tuple[tuple[float, float], float]]:
    """Circles ((x, y), radius) in pixels that lie inside and apart."""
    short = min(width, height)
    placed: list[tuple[tuple[float, float], float]] = []
    for _ in range(_PLACING_TRIES):
        if len(placed) == count:
            break
        radius = rng.uniform(0.09, 0.22) * short
        x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
        gap = 0.02 * short
        if all(np.hypot(x - px, y - py) > radius + r + gap for (px, py), r in placed):
            placed.append(((x, y), radius))
    return placed


Rings = Sequence[NDArray[np.float64]]  # outlines (M, 2) around the origin; later ones are holes


def _regular(radius: float, corners: int, turn: float) -> NDArray[np.float64]:
    angles = turn + 2 * np.pi * np.arange(corners) / corners
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _circle(_rng: np.random.Generator, radius: float) -> Rings:
    return [_regular(radius, 64, 0.0)]


def _ring(rng: np.random.Generator, radius: float) -> Rings:
    return [_regular(radius, 64, 0.0), _regular(radius * rng.uniform(0.45, 0.6), 64, 0.0)]


def _square(rng: np.random.Generator, radius: float) -> Rings:
    return [_regular(radius, 4, np.pi / 4 + rng.uniform(-0.3, 0.3))]


def _triangle(rng: np.random.Generator, radius: float) -> Rings:
    return [_regular(radius, 3, -np.pi / 2 + rng.uniform(-0.5, 0.5))]


def _star(rng: np.random.Generator, radius: float) -> Rings:
    outline = _regular(radius, 10, -np.pi / 2 + rng.uniform(-0.3, 0.3))
    outline[1::2] *= 0.45
    return [outline]


def _cross(rng: np.random.Generator, radius: float) -> Rings:
    # Four arms: the two corners at the end of each, then the one between it and the next.
    spread, middle = np.arctan(0.3), 0.4
    arm = np.array([[1.0, -spread], [1.0, spread], [middle, np.pi / 4]])
    quarters = np.arange(4)[:, None] * np.pi / 2
    lengths, angles = np.tile(arm[:, 0], 4), (quarters + arm[:, 1]).ravel()
    angles = angles + rng.uniform(-0.3, 0.3)
    return [radius * lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)]


KINDS: dict[str, Callable[[np.random.Generator, float], Rings]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
}
# Shapes that the demo models have never seen.
OTHER_KINDS: dict[str, Callable[[np.random.Generator, float], Rings]] = {"cross": _cross}


def coverage_of(
    rings: Rings, center: tuple[float, float], width: int, height: int
) -> NDArray[np.float64]:
    """Tell how much of each pixel a shape covers, float64 (H, W) in [0, 1]."""
    large = np.zeros((height * _OVERSAMPLING, width * _OVERSAMPLING), np.uint8)
    outlines = [np.rint((ring + center) * _OVERSAMPLING).astype(np.int32) for ring in rings]
    cv2.fillPoly(large, outlines, 255)
    small = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float64) / 255


def tight_box(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the box around the pixels of a mask, float32 (4,) xyxy, half-open."""
    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], np.float32)
