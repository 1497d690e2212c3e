"""Read Label Studio regions back into pixels, and draw them on an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.boxes import from_percent, points_from_percent
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import RGBImage
from grounded_labeler.label_studio.brush_rle import decode_rle
from grounded_labeler.label_studio.mask_image import decode_bitmask
from grounded_labeler.label_studio.outlines import outline_of
from grounded_labeler.label_studio.shapes import rotated_box_of
from grounded_labeler.rendering import Shape, draw_shapes


def label_of(region: Mapping[str, Any]) -> str:
    """The region's label, or its phrase in brackets when it has none."""
    value = region["value"]
    for key in (
        "rectanglelabels",
        "bitmasklabels",
        "brushlabels",
        "polygonlabels",
        "vectorlabels",
        "labels",
    ):
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
    """Bool (H, W) of a brush or bitmask region."""
    if "imageDataURL" in region["value"]:
        return decode_bitmask(region["value"]["imageDataURL"])
    return decode_rle(region["value"]["rle"], (region["original_height"], region["original_width"]))


def draw(image: RGBImage, regions: Sequence[Mapping[str, Any]]) -> RGBImage:
    """Draw every region that has a place on `image`; others, as the status line, are left out."""
    size_wh = (image.shape[1], image.shape[0])
    shapes = (_shape_of(region, size_wh) for region in regions)
    return draw_shapes(image, [shape for shape in shapes if shape is not None])


def _shape_of(region: Mapping[str, Any], size_wh: tuple[int, int]) -> Shape | None:
    value, name = region["value"], label_of(region)
    if "rle" in value or "imageDataURL" in value:
        return Shape(name, mask=Mask.from_full(mask_of(region)))
    if "points" in value or "vertices" in value:
        outline = outline_of(value)
        return (
            None if outline is None else Shape(name, polygon=points_from_percent(outline, size_wh))
        )
    turned = rotated_box_of(region, size_wh)
    if turned is not None:
        return Shape(name, region.get("score", 0.0), polygon=turned.corners())
    if "width" in value:
        return Shape(name, region.get("score", 0.0), box=box_of(region))
    return None
