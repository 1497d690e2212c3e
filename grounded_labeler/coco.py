"""Objects as COCO annotations: https://cocodataset.org/#format-data."""

import re
from collections.abc import Sequence
from typing import NotRequired

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from grounded_labeler.core.masks import Mask

# Numbers of up to 35 bits, more than any mask has pixels: five to a character, and a sixth bit
# where another character follows.
_PACKED = re.compile(r"(?:[P-o]{0,6}[0-O])+")
_MAX_OUTLINE = 4_000_000  # pixels; COCO's tools keep ten numbers for each


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
    mask: CocoRle | None,
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
        annotation["segmentation"] = mask
        annotation["area"] = coco_area(mask)
    return annotation


def coco_rle(mask: Mask) -> CocoRle:
    """Encode a mask as COCO's run lengths, in a time that grows with its crop alone.

    The runs go down one column after another; the first one is of pixels that are False.
    """
    from pycocotools import mask as rle  # noqa: PLC0415 - needed for COCO only

    height, width = mask.size_hw
    columns = _transposed(mask.crop)
    if columns.shape[1] < height:
        # A run ends with its column of the crop, as there are more pixels before the next one.
        columns = np.pad(columns, ((0, 0), (0, 1)))
    stride = columns.shape[1]
    edges = np.flatnonzero(np.diff(columns.ravel(), prepend=False, append=False))
    edges += edges // stride * (height - stride) + mask.left * height + mask.top
    counts = np.diff(edges, prepend=0, append=height * width)
    if not counts[-1]:
        counts = counts[:-1]
    runs = {"size": [height, width], "counts": counts.tolist()}
    packed = rle.frPyObjects(runs, height, width)["counts"]
    return CocoRle(size=[height, width], counts=packed.decode("ascii"))


def _transposed(crop: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the columns of a crop, bool (w, h), one after another in memory.

    OpenCV does that in blocks: ten times faster than to read a numpy array against its order.
    """
    if not crop.size:
        return crop.T
    return cv2.transpose(crop.view(np.uint8)).view(np.bool_)


def coco_mask(encoded: CocoRle) -> Mask:
    """Decode COCO's run lengths, in a time that grows with the columns of the mask alone."""
    height, width = encoded["size"]
    ends = _counts(encoded["counts"]).cumsum()
    ends = ends[: len(ends) // 2 * 2]  # to the end of the last run that is True
    if not len(ends):
        return Mask(np.zeros((0, 0), np.bool_), 0, 0, (height, width))
    left, right = int(ends[0] // height), int(-(-ends[-1] // height))
    lengths = np.diff(ends, prepend=left * height, append=right * height)
    pixels = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return Mask(pixels.reshape(right - left, height).T, left, 0, (height, width)).trimmed()


def coco_area(encoded: CocoRle) -> int:
    """Count the pixels of a mask in COCO's run lengths."""
    return int(_counts(encoded["counts"])[1::2].sum())


def unpacked_counts(encoded: CocoRle) -> list[int]:
    """Return the run lengths of a mask as numbers, of which the first is of pixels outside."""
    counts: list[int] = _counts(encoded["counts"]).tolist()
    return counts


def coco_box(encoded: CocoRle) -> NDArray[np.float32]:
    """Return the tightest box, float32 (4,) xyxy in pixels, half-open; zeros without a pixel."""
    from pycocotools import mask as rle  # noqa: PLC0415 - needed for COCO only

    x, y, width, height = rle.toBbox(_with_bytes(encoded))
    return np.array([x, y, x + width, y + height], np.float32)


def coco_rle_of_polygons(
    polygons: Sequence[NDArray[np.float64]], size_hw: tuple[int, int]
) -> CocoRle:
    """Encode the pixels inside any of the polygons, as COCO's own tools fill them.

    Args:
        polygons: outlines, (M, 2) xy in pixels inside the image, of at least 3 points; where one
            crosses itself, what it encloses twice is outside.
        size_hw: height and width of the image in pixels.

    Raises ValueError for outlines so long that to follow them takes gigabytes.
    """
    from pycocotools import mask as rle  # noqa: PLC0415 - needed for COCO only

    height, width = size_hw
    steps = sum(
        float(np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1).sum())
        for points in polygons
    )
    if not steps <= _MAX_OUTLINE:
        raise ValueError(f"outlines must be at most {_MAX_OUTLINE:,} pixels long")
    flat = [points.ravel().tolist() for points in polygons]
    merged = rle.merge(rle.frPyObjects(flat, height, width))
    return CocoRle(size=[height, width], counts=merged["counts"].decode("ascii"))


def checked_coco_rle(counts: str | Sequence[int], size_hw: tuple[int, int]) -> CocoRle:
    """Return somebody else's run lengths, packed or not, as they are safe to decode.

    `size_hw` is the height and width of the image in pixels. Raises ValueError for what does not
    count each of its pixels once: pycocotools would read or write past the mask.
    """
    height, width = size_hw
    if isinstance(counts, str):
        if not _PACKED.fullmatch(counts):
            raise ValueError("counts must be COCO's packed run lengths")
        lengths = _counts(counts).tolist()
    else:
        lengths = list(counts)
    if min(lengths, default=-1) < 0 or sum(lengths) != height * width:
        raise ValueError(f"counts must be of {height} x {width} pixels, got {sum(lengths):,}")
    if isinstance(counts, str):
        return CocoRle(size=[height, width], counts=counts)
    from pycocotools import mask as rle  # noqa: PLC0415 - needed for COCO only

    packed = rle.frPyObjects({"size": [height, width], "counts": lengths}, height, width)
    return CocoRle(size=[height, width], counts=packed["counts"].decode("ascii"))


def union_of_coco_rles(masks: Sequence[CocoRle]) -> CocoRle:
    """Return the pixels that are in any of at least one mask, all of one size."""
    from pycocotools import mask as rle  # noqa: PLC0415 - needed for COCO only

    if len(masks) == 1:
        return masks[0]
    merged = rle.merge([_with_bytes(mask) for mask in masks])
    return CocoRle(size=masks[0]["size"], counts=merged["counts"].decode("ascii"))


def _with_bytes(encoded: CocoRle) -> dict[str, object]:
    """As pycocotools takes run lengths."""
    return {"size": encoded["size"], "counts": encoded["counts"].encode("ascii")}


def _counts(packed: str) -> NDArray[np.int64]:
    """The run lengths in COCO's text, as `rleFrString` in its maskApi.c reads them.

    Each number has five bits in a character, the lowest first, and a sixth bit where another
    character follows. From the fourth on, it is the difference to the number before the last.
    """
    codes = np.frombuffer(packed.encode("ascii"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(codes & 32 == 0)
    lengths = np.diff(ends, prepend=-1)
    starts = ends - lengths + 1
    shifts = 5 * (np.arange(len(codes)) - starts.repeat(lengths))
    counts = np.add.reduceat((codes & 31) << shifts, starts)
    counts -= (codes[ends] >> 4 & 1) << 5 * lengths  # the last bit is the sign
    counts[1::2] = counts[1::2].cumsum()
    counts[2::2] = counts[2::2].cumsum()
    return counts
