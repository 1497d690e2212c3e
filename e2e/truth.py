"""What is drawn in the bundled images, and whether regions lie on it."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from label_studio_sdk.converter.brush import decode_rle
from numpy.typing import NDArray

from e2e.label_studio import Region
from grounded_labeler.core.boxes import box_iou, points_from_percent
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.demo.process import ROOT
from grounded_labeler.demo.shapes import DrawnImage, Shape, draw_image
from grounded_labeler.label_studio.rendering import box_of, label_of, mask_of

SAMPLES = ROOT / "grounded_labeler" / "demo" / "samples"
WIDE, TALL, LARGE, ROTATED = (
    SAMPLES / name for name in ("wide.jpg", "tall.jpg", "large.jpg", "rotated.jpg")
)
MIN_IOU = 0.8


@cache
def drawn(sample: Path) -> DrawnImage:
    """A bundled image as it was drawn, with its boxes and masks, as displayed."""
    truth = json.loads((SAMPLES / "truth.json").read_text())[sample.name]
    return draw_image(np.random.default_rng(truth["seed"]), truth["displayed_size_wh"])


def of_type(regions: Sequence[Region], kind: str) -> list[Region]:
    return [region for region in regions if region["type"] == kind]


def labels_of(regions: Sequence[Region]) -> list[str]:
    return sorted(label_of(region) for region in regions)


def assert_found(image: DrawnImage, regions: Sequence[Region], *names: str) -> None:
    """Each shape named, and nothing else, has one region of its label lying on it."""
    shapes = [shape for name in names for shape in image.named(name)]
    assert shapes, f"none of {names} is drawn"
    assert len(regions) == len(shapes), (labels_of(regions), [shape.name for shape in shapes])
    size_hw = image.image.shape[:2]
    for region in regions:
        assert (region["original_height"], region["original_width"]) == size_hw
    overlaps = {shape.name: best_overlap(shape, regions) for shape in shapes}
    assert min(overlaps.values()) >= MIN_IOU, overlaps


def best_overlap(shape: Shape, regions: Sequence[Region]) -> float:
    """IoU of a shape with the region of its label that fits it best; 0 without one."""
    same = [region for region in regions if label_of(region) == shape.kind.title()]
    return max((overlap(region, shape.box, shape.mask) for region in same), default=0.0)


def overlap(region: Region, box: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """IoU of a saved region with the truth: pixel by pixel where it is more than a box."""
    if region["type"] == "rectanglelabels":
        return float(box_iou(box_of(region)[None], box[None])[0, 0])
    return mask_iou(pixels(region), mask)


def pixels(region: Region) -> NDArray[np.bool_]:
    """Bool (H, W) of a brush or polygon region, decoded by Label Studio's own SDK."""
    size_hw = (region["original_height"], region["original_width"])
    if region["type"] == "brushlabels":
        rgba = np.asarray(decode_rle(region["value"]["rle"])).reshape(*size_hw, 4)
        decoded: NDArray[np.bool_] = rgba[:, :, 3] > 0
        return decoded
    if region["type"] == "bitmasklabels":
        return mask_of(region)
    points = points_from_percent(np.array(region["value"]["points"]), size_hw[::-1])
    canvas = np.zeros(size_hw, np.uint8)
    cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 1)
    return canvas > 0
