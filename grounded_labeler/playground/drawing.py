"""Draws what is selected: one image, or many as a contact sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Detections, RGBImage
from grounded_labeler.playground.selection import Limits, detections_of, names_of
from grounded_labeler.rendering import Shape, draw_shapes
from grounded_labeler.server.inspector import Inspection

_LONGEST_SIDE = 1280  # pixels: more takes longer to send than anybody sees
CELL_WH = (300, 225)
COLUMNS = 4
_STRIP = 26  # pixels below each image of a sheet, for its name
_GAP = 8
_DOT = 6  # pixels, the radius of a click
_PAPER, _INK, _GREY, _RED = (255, 255, 255), (31, 41, 55), (229, 231, 235), (185, 28, 28)
_CLICK_COLORS = {True: (22, 163, 74), False: (220, 38, 38)}

BoxKey = bytes  # the bytes of a box, float32 (4,)
Click = tuple[float, float, bool]  # x and y in pixels of the image, whether it is positive


@dataclass(frozen=True, eq=False)
class Cell:
    """An image of a sheet: its name, a small copy of it, and what was seen or why nothing was.

    `scale` is the width of the copy over that of the image.
    """

    name: str
    thumbnail: RGBImage | None
    scale: float
    seen: Inspection | str


def thumbnail_of(pixels: RGBImage) -> tuple[RGBImage, float]:
    """Return a copy that fits into a cell, and its width over that of the image."""
    return _scaled(pixels, CELL_WH)


def draw_image(
    pixels: RGBImage,
    detections: Detections | None,
    masks: Mapping[BoxKey, Mask | None],
    clicked: Mask | None = None,
    clicks: Sequence[Click] = (),
) -> tuple[RGBImage, float]:
    """Draw boxes, the masks that there are, and clicks on a copy of at most 1280 pixels a side.

    Returns the copy and its width over that of the image.
    """
    small, scale = _scaled(pixels, (_LONGEST_SIDE, _LONGEST_SIDE))
    size_hw = small.shape[0], small.shape[1]
    detections = detections or Detections.empty()
    shapes = [
        Shape(
            name, float(score), box * np.float32(scale), _fitted(masks.get(box.tobytes()), size_hw)
        )
        for name, score, box in zip(
            names_of(detections), detections.scores, detections.boxes, strict=True
        )
    ]
    if clicked is not None:
        shapes.append(Shape("clicked", mask=_fitted(clicked, size_hw)))
    drawn = draw_shapes(small, shapes)
    if not clicks:
        return drawn, scale
    canvas = Image.fromarray(drawn)
    pen, factor = ImageDraw.Draw(canvas), scale * drawn.shape[1] / small.shape[1]
    for x, y, is_positive in clicks:
        left, top = (x + 0.5) * factor - _DOT, (y + 0.5) * factor - _DOT
        ellipse = (left, top, left + 2 * _DOT, top + 2 * _DOT)
        pen.ellipse(ellipse, fill=_CLICK_COLORS[is_positive], outline=_PAPER, width=2)
    return np.asarray(canvas), scale


def draw_sheet(cells: Sequence[Cell], limits: Limits) -> tuple[RGBImage, int]:
    """Draw the boxes that the thresholds keep, four images in a row; also returns their number."""
    width, height = CELL_WH[0] + _GAP, CELL_WH[1] + _STRIP + _GAP
    rows = max(1, -(-len(cells) // COLUMNS))
    sheet = Image.new("RGB", (COLUMNS * width + _GAP, rows * height + _GAP), _PAPER)
    pen, font, count = ImageDraw.Draw(sheet), ImageFont.load_default(15), 0
    for place, cell in enumerate(cells):
        row, column = divmod(place, COLUMNS)
        left, top = _GAP + column * width, _GAP + row * height
        pen.rectangle((left, top, left + CELL_WH[0] - 1, top + CELL_WH[1] - 1), fill=_GREY)
        said, ink = "", _INK
        if isinstance(cell.seen, str):
            said, ink = "failed", _RED
        if cell.thumbnail is not None:
            drawn = cell.thumbnail
            if not isinstance(cell.seen, str):
                detections = detections_of(cell.seen, limits)
                count += len(detections)
                said = f"{len(detections)} found"
                drawn, _ = draw_image(drawn, _shrunk(detections, cell.scale), {})
            image = Image.fromarray(drawn)
            image.thumbnail(CELL_WH)
            inset = (CELL_WH[0] - image.width) // 2, (CELL_WH[1] - image.height) // 2
            sheet.paste(image, (left + inset[0], top + inset[1]))
        pen.text((left + 2, top + CELL_WH[1] + 4), _fitting(cell.name), fill=_INK, font=font)
        end = left + CELL_WH[0] - 2 - pen.textlength(said, font=font)
        pen.text((end, top + CELL_WH[1] + 4), said, fill=ink, font=font)
    return np.asarray(sheet), count


def cell_at(x: float, y: float, count: int) -> int | None:
    """Return which of `count` cells lies at a pixel of the sheet; None between and behind them."""
    column, in_x = divmod(x - _GAP, CELL_WH[0] + _GAP)
    row, in_y = divmod(y - _GAP, CELL_WH[1] + _STRIP + _GAP)
    number = int(row) * COLUMNS + int(column)
    is_inside = in_x < CELL_WH[0] and in_y < CELL_WH[1] + _STRIP
    is_there = 0 <= column < COLUMNS and row >= 0 and number < count
    return number if is_inside and is_there else None


def _scaled(pixels: RGBImage, most_wh: tuple[int, int]) -> tuple[RGBImage, float]:
    height, width = pixels.shape[:2]
    scale = min(1.0, most_wh[0] / width, most_wh[1] / height)
    if scale == 1.0:
        return pixels, 1.0
    small_wh = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(pixels, small_wh, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), scale


def _fitted(mask: Mask | None, size_hw: tuple[int, int]) -> Mask | None:
    if mask is None or mask.size_hw == size_hw:
        return mask
    full = mask.full().astype(np.uint8)
    small = cv2.resize(full, size_hw[::-1], interpolation=cv2.INTER_NEAREST)
    return Mask.from_full(np.asarray(small, np.bool_))


def _shrunk(detections: Detections, scale: float) -> Detections:
    boxes = detections.boxes * np.float32(scale)
    return Detections(boxes, detections.scores, detections.phrases, detections.labels)


def _fitting(name: str) -> str:
    return name if len(name) <= 26 else f"…{name[-25:]}"
