"""Objects as COCO annotations: https://cocodataset.org/#format-data."""

from typing import NotRequired

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

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
    columns = mask.crop.T
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
