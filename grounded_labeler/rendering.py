"""Draw boxes, masks and polygons on an image, each with its name and score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from grounded_labeler._text import rounded_down
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import RGBImage

Color = tuple[int, int, int]

# Colours that few photographed things have, so that what is drawn stands out.
_COLORS: tuple[Color, ...] = (
    (255, 0, 255), (0, 255, 255), (255, 255, 255), (0, 0, 0), (160, 255, 80),
)  # fmt: skip
_MASK_OPACITY = 0.2  # inside; a stronger tint would hide what colour the object has
_MIN_SIDE = 120  # pixels; a smaller image is enlarged, lest the letters cover it
_FONT_SIZES = (8, 12)  # pixels; the smallest to make a name fit, the smallest where it does
_FONT_SHARE = 45  # the longer side of the image over the size of the letters


@dataclass(frozen=True, eq=False)
class Shape:
    """Something to draw: any of a mask, a polygon and a box.

    `box` is float32 (4,) xyxy in pixels, half-open; `polygon` is float (K, 2) xy in pixels.
    The name and the score, in [0, 1], are written at the box, unless the name is empty.
    `color` is RGB, that of the name if None. Lines are half as wide where it `is_thin`.
    """

    name: str
    score: float | None = None
    box: NDArray[np.float32] | None = None
    mask: Mask | None = None
    polygon: NDArray[np.floating] | None = None
    color: Color | None = None
    is_thin: bool = False


def draw_thumbnail(image: RGBImage, shapes: Sequence[Shape], side: int) -> Image.Image:
    """Draw the shapes, and make the image so small that its longer side has `side` pixels."""
    thumbnail = Image.fromarray(draw_shapes(image, shapes))
    thumbnail.thumbnail((side, side))
    return thumbnail


def draw_shapes(image: RGBImage, shapes: Sequence[Shape]) -> RGBImage:
    """Draw masks tinted and outlined, polygons and boxes outlined, and names written.

    Args:
        image: uint8 RGB (H, W, 3); it is not changed.
        shapes: what to draw; shapes of one name without a colour have one colour.

    Returns:
        A new image of the same size, or where the longer side has less than 120 pixels,
        a whole number of times as large.
    """
    factor = -(-_MIN_SIDE // max(image.shape[:2]))
    pixels = image.repeat(factor, axis=0).repeat(factor, axis=1)
    shapes = [_enlarged(shape, factor) for shape in shapes]
    names = sorted({shape.name for shape in shapes if shape.color is None})
    of_names = {name: _COLORS[i % len(_COLORS)] for i, name in enumerate(names)}
    colors = [shape.color or of_names[shape.name] for shape in shapes]
    size = max(_FONT_SIZES[1], round(max(pixels.shape[:2]) / _FONT_SHARE))
    line = max(2, size // 8)
    widths = [max(1, line // 2) if shape.is_thin else line for shape in shapes]
    for shape, color, width in zip(shapes, colors, widths, strict=True):
        if shape.mask is not None:
            _tint(pixels, shape.mask, color, width)
    canvas = Image.fromarray(pixels)
    pen = ImageDraw.Draw(canvas)
    for shape, color, width in zip(shapes, colors, widths, strict=True):
        if shape.polygon is not None:
            points = [(float(x), float(y)) for x, y in shape.polygon]
            pen.polygon(points, outline=color, width=width)
        if shape.box is not None:
            x0, y0, x1, y1 = shape.box.tolist()
            # Pillow counts the last pixel in, a half-open box does not.
            corners = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))
            pen.rectangle(corners, outline=color, width=width)
    # Names last, lest another shape's line crosses the letters.
    for shape, color in zip(shapes, colors, strict=True):
        if shape.box is not None and shape.name:
            _write(pen, shape, color, size, canvas.width)
    return np.asarray(canvas)


def _enlarged(shape: Shape, factor: int) -> Shape:
    if factor == 1:
        return shape
    mask = None
    if shape.mask is not None:
        mask = Mask.from_full(shape.mask.full().repeat(factor, axis=0).repeat(factor, axis=1))
    return replace(
        shape,
        box=None if shape.box is None else shape.box * factor,
        mask=mask,
        polygon=None if shape.polygon is None else shape.polygon * factor,
    )


def _tint(pixels: RGBImage, mask: Mask, color: Color, line: int) -> None:
    height, width = mask.crop.shape
    if not height or not width:
        return
    view = pixels[mask.top : mask.top + height, mask.left : mask.left + width]
    crop, shades = mask.crop.view(np.uint8), np.arange(256)[:, np.newaxis]
    mixed = shades * (1 - _MASK_OPACITY) + np.array(color) * _MASK_OPACITY
    drawn = np.empty_like(view)
    drawn[:] = color
    # With False pixels around it, the mask is outlined at the edges of its crop, too.
    inner = cv2.erode(np.pad(crop, line), np.ones((2 * line + 1, 2 * line + 1), np.uint8))
    tinted = cv2.LUT(view, mixed.astype(np.uint8)[:, np.newaxis])
    cv2.copyTo(tinted, inner[line:-line, line:-line], drawn)
    cv2.copyTo(drawn, crop, view)


def _write(
    pen: ImageDraw.ImageDraw, shape: Shape, color: Color, size: int, canvas_width: int
) -> None:
    """Write the name above the box, or into it where there is no room above."""
    if shape.box is None:
        return
    text = shape.name if shape.score is None else f"{shape.name} {rounded_down(shape.score)}"
    font, pad = ImageFont.load_default(size), max(1, size // 6)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    while right - left + 2 * pad > canvas_width and size > _FONT_SIZES[0]:
        size -= 1
        font = ImageFont.load_default(size)
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    # A name that begins left of the image's edge ends inside it, if the image is wide enough.
    x = max(0.0, min(float(shape.box[0]), canvas_width - width))
    y = max(0.0, float(shape.box[1]) - height)
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
    light = sum(color) > 3 * 127
    ink = (0, 0, 0) if light else (255, 255, 255)
    pen.text((x + pad - left, y + pad - top), text, fill=ink, font=font)
