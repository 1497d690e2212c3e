"""Objects as COCO annotations: https://cocodataset.org/#format-data."""

from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import Mask


class CocoRle(TypedDict):
    """A mask as COCO's run lengths: `size` is height and width, `counts` the packed text."""

    size: list[int]
    counts: str


class CocoAnnotation(TypedDict):
    """An annotation as https://cocodataset.org/#format-data has it, with a `score`.

    `bbox` is x, y, width and height in pixels; `area` is in pixels, of the mask if there
    is one. `segmentation` is missing without masks.
    """

    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    iscrowd: int
    score: float
    segmentation: NotRequired[CocoRle]


def coco_annotation(
    box: NDArray[np.float32],
    mask: Mask | None,
    *,
    id: int,
    image_id: int,
    category_id: int,
    score: float,
) -> CocoAnnotation:
    """Make an annotation of a box, float32 (4,) xyxy in pixels, and its mask, if there is one."""
    x0, y0, x1, y1 = (round(float(corner), 2) for corner in box)
    width, height = round(x1 - x0, 2), round(y1 - y0, 2)
    annotation = CocoAnnotation(
        id=id,
        image_id=image_id,
        category_id=category_id,
        bbox=[x0, y0, width, height],
        area=round(width * height, 2),
        iscrowd=0,
        score=score,
    )
    if mask is not None:
        annotation["segmentation"] = coco_rle(mask)
        annotation["area"] = int(mask.crop.sum())
    return annotation


def coco_rle(mask: Mask) -> CocoRle:
    """Encode a mask as COCO's run lengths."""
    from pycocotools import mask as rle  # noqa: PLC0415 - needed for COCO only

    encoded = rle.encode(np.asfortranarray(mask.full().astype(np.uint8)))
    return CocoRle(size=list(mask.size_hw), counts=encoded["counts"].decode("ascii"))
