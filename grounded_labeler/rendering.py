"""Draw boxes, masks and polygons on an image, each with its name and score."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from grounded_labeler.core.types import Mask, RGBImage

Color = tuple[int, int, int]

# Colours that few photographed things have, so that what is drawn stands out.
_COLORS: tuple[Color, ...] = (
    (255, 0, 255), (0, 255, 255), (255, 255, 255), (0, 0, 0), (160, 255, 80),
)  # fmt: skip
_MASK_OPACITY = 0.2  # inside; a stronger tint would hide what colour the object has
_OUTLINE = 2  # pixels, the width of a mask's outline
_MIN_FONT_SIZE = 12  # pixels; smaller letters cannot be read
_FONT_SHARE = 45  # the longer side of the image over the size of the letters


@dataclass(frozen=True, eq=False)
class Shape:
    """Something to draw: any of a mask, a polygon and a box, in the colour of its `name`.

    `box` is float32 (4,) xyxy in pixels, half-open; `polygon` is float (K, 2) xy in pixels.
    The name and the score, in [0, 1], are written at the box.
    """

    name: str
    score: float | None = None
    box: NDArray[np.float32] | None = None
    mask: Mask | None = None
    polygon: NDArray[np.floating] | None = None


def draw_shapes(image: RGBImage, shapes: Sequence[Shape]) -> RGBImage:
    """Draw masks tinted and outlined, polygons and boxes outlined, and names written.

    Args:
        image: uint8 RGB (H, W, 3); it is not changed.
        shapes: what to draw; shapes of one name have one colour.

    Returns:
        A new image of the same size.
    """
    names = sorted({shape.name for shape in shapes})
    colors = {name: _COLORS[i % len(_COLORS)] for i, name in enumerate(names)}
    pixels = image.copy()
    for shape in shapes:
        if shape.mask is not None:
            _tint(pixels, shape.mask, colors[shape.name])
    canvas = Image.fromarray(pixels)
    pen = ImageDraw.Draw(canvas)
    size = max(_MIN_FONT_SIZE, round(max(canvas.size) / _FONT_SHARE))
    line = min(max(2, size // 8), max(1, min(canvas.size) // 16))
    for shape in shapes:
        if shape.polygon is not None:
            points = [(float(x), float(y)) for x, y in shape.polygon]
            pen.polygon(points, outline=colors[shape.name], width=line)
        if shape.box is not None:
            x0, y0, x1, y1 = shape.box.tolist()
            # Pillow counts the last pixel in, a half-open box does not.
            corners = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))
            pen.rectangle(corners, outline=colors[shape.name], width=line)
    # Names last, lest another shape's line crosses the letters.
    for shape in shapes:
        if shape.box is not None:
            _write(pen, shape, colors[shape.name], size, canvas.size)
    return np.asarray(canvas)


def _tint(pixels: RGBImage, mask: Mask, color: Color) -> None:
    height, width = mask.crop.shape
    if not height or not width:
        return
    view = pixels[mask.top : mask.top + height, mask.left : mask.left + width]
    mixed = view[mask.crop] * (1 - _MASK_OPACITY) + np.array(color) * _MASK_OPACITY
    view[mask.crop] = mixed.astype(np.uint8)
    # With False pixels around it, the mask is outlined at the edges of its crop, too.
    padded = np.pad(mask.crop.astype(np.uint8), _OUTLINE)
    side = 2 * _OUTLINE + 1
    inner = cv2.erode(padded, np.ones((side, side), np.uint8))[
        _OUTLINE:-_OUTLINE, _OUTLINE:-_OUTLINE
    ]
    view[mask.crop & (inner == 0)] = color


def _write(
    pen: ImageDraw.ImageDraw, shape: Shape, color: Color, size: int, canvas_wh: tuple[int, int]
) -> None:
    """Write the name above the box, or inside it where there is no room above."""
    if shape.box is None:
        return
    text = shape.name if shape.score is None else f"{shape.name} {shape.score:.2f}"
    font = ImageFont.load_default(size)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    x0, y0 = (float(corner) for corner in shape.box[:2])
    # Text that begins left of the image's edge ends inside it, if the image is wide enough.
    x = max(0.0, min(x0, canvas_wh[0] - right))
    y = max(0.0, y0 - bottom)
    pen.rectangle((x + left, y + top, x + right, y + bottom), fill=color)
    light = sum(color) > 3 * 127
    pen.text((x, y), text, fill=(0, 0, 0) if light else (255, 255, 255), font=font)
