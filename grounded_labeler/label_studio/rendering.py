"""Draw Label Studio regions on a picture, from what the service answered and nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from grounded_labeler.core.boxes import from_percent, points_from_percent
from grounded_labeler.core.types import RGBImage
from grounded_labeler.label_studio.brush_rle import decode_rle

# Colours of no shape in the pictures, so that what is drawn stands out.
_LABEL_COLORS = [(255, 0, 255), (0, 255, 255), (255, 255, 255), (0, 0, 0), (160, 255, 80)]
_MASK_OPACITY = 0.2  # inside; a stronger tint would hide what colour the shape has


def label_of(region: Mapping[str, Any]) -> str:
    """The region's label, or its phrase in brackets when it has none."""
    value = region["value"]
    for key in ("rectanglelabels", "brushlabels", "polygonlabels", "labels"):
        if value.get(key):
            return str(value[key][0])
    return f"({region.get('meta', {}).get('text', ['?'])[0]})"


def box_of(region: Mapping[str, Any]) -> NDArray[np.float32]:
    """Xyxy pixels of a box region."""
    value = region["value"]
    percent = np.array([[value["x"], value["y"], value["width"], value["height"]]], np.float32)
    size_wh = (region["original_width"], region["original_height"])
    box: NDArray[np.float32] = from_percent(percent, size_wh)[0]
    return box


def mask_of(region: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Bool (H, W) of a brush region."""
    return decode_rle(region["value"]["rle"], (region["original_height"], region["original_width"]))


def draw(image: RGBImage, regions: Sequence[Mapping[str, Any]]) -> RGBImage:
    """`image` with masks tinted and outlined, boxes outlined and labels written."""
    labels = sorted({label_of(region) for region in regions if _is_drawn(region)})
    colors = {label: _LABEL_COLORS[i % len(_LABEL_COLORS)] for i, label in enumerate(labels)}
    canvas = image.astype(np.float32)
    for region in _of(regions, "rle"):
        mask, tint = mask_of(region), np.array(colors[label_of(region)], np.float32)
        canvas[mask] = canvas[mask] * (1 - _MASK_OPACITY) + tint * _MASK_OPACITY
        inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.bool_)
        canvas[mask & ~inner] = tint
    picture = Image.fromarray(canvas.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    size = max(12, round(max(picture.size) / 45))
    font = ImageFont.load_default(size)
    for region in _of(regions, "points"):
        outline = points_from_percent(np.array(region["value"]["points"]), picture.size)
        points = [(x, y) for x, y in outline]
        pen.polygon(points, outline=colors[label_of(region)], width=max(2, size // 8))
    for region in _of(regions, "width"):
        x0, y0, x1, y1 = box_of(region).tolist()
        color = colors[label_of(region)]
        pen.rectangle((x0, y0, x1, y1), outline=color, width=max(2, size // 8))
        text = f"{label_of(region)} {region.get('score', 0):.2f}"
        corner = (x0, max(0.0, y0 - size * 1.2))
        pen.rectangle(pen.textbbox(corner, text, font=font), fill=color)
        light = sum(color) > 3 * 127
        pen.text(corner, text, fill=(0, 0, 0) if light else (255, 255, 255), font=font)
    return np.asarray(picture)


def _is_drawn(region: Mapping[str, Any]) -> bool:
    return any(key in region["value"] for key in ("rle", "points", "width"))


def _of(regions: Sequence[Mapping[str, Any]], key: str) -> Iterable[Mapping[str, Any]]:
    return (region for region in regions if key in region["value"])
