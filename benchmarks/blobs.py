"""Objects with ragged edges, spread over an image, and what the service answers of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from e2e.configs import BITMASKS, MASKS, POLYGONS, view
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Detections, RGBImage
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.regions import encode_regions

Form = Literal["brush", "bitmask", "polygon"]
Result = dict[str, Any]

CONFIGS: dict[Form, str] = {
    "brush": view(MASKS),
    "bitmask": view(BITMASKS),
    "polygon": view(POLYGONS),
}
LABEL = "Circle"

_SHARES = (0.5, 0.95)  # of half a cell: the least and the greatest radius
_RAGGED = 0.25  # how far an edge strays from its circle, in radii
# Segmenters decode masks of 256 pixels a side: no detail of an edge is finer than a few of them.
_DETAILS = 96  # along the longer side


@dataclass(frozen=True, eq=False)
class Blob:
    """A mask, and `inside`: the pixel of it, x and y, that is farthest from its edge."""

    mask: Mask
    inside: tuple[int, int]


def draw_blobs(count: int, size_wh: tuple[int, int]) -> list[Blob]:
    """Draw `count` blobs that do not touch, one in each cell of a grid; always the same ones."""
    width, height = size_wh
    columns = max(1, round((count * width / height) ** 0.5))
    rows = -(-count // columns)
    cell_wh = (width // columns, height // rows)
    rng = np.random.default_rng(count)
    places = [(column * cell_wh[0], row * cell_wh[1]) for row in range(rows) for column in
              range(columns)]  # fmt: skip
    return [_blob(rng, place, cell_wh, size_wh) for place in places[:count]]


def predicted(blobs: Sequence[Blob], form: Form) -> list[Result]:
    """Encode the blobs as the service does for a project that has the tag of that form alone."""
    masks = [blob.mask for blob in blobs]
    boxes = np.array([_box(mask) for mask in masks], np.float32).reshape(-1, 4)
    scores = np.linspace(0.9, 0.4, len(masks), dtype=np.float32)
    labels = (LABEL,) * len(masks)
    [target] = read_label_config(CONFIGS[form]).images
    height, width = masks[0].size_hw
    found = Detections(boxes, scores, labels, labels)
    return encode_regions(found, masks, target, (width, height), "auto")


def blotches(size_wh: tuple[int, int]) -> RGBImage:
    """Draw an image, uint8 (H, W, 3), that a JPEG makes neither very small nor very large."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 200, (size_wh[1] // 40, size_wh[0] // 40, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC))


def _blob(
    rng: np.random.Generator,
    place: tuple[int, int],
    cell_wh: tuple[int, int],
    size_wh: tuple[int, int],
) -> Blob:
    """A disk in its cell whose edge strays by noise; only the part around its middle stays."""
    width, height = cell_wh
    radius = min(cell_wh) / 2 * rng.uniform(*_SHARES) / (1 + _RAGGED)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot(x - width / 2, y - height / 2) / radius
    detail = max(size_wh) / _DETAILS
    noise = _noise(rng, cell_wh, radius / 2) + 0.4 * _noise(rng, cell_wh, detail)
    inside = distance < 1 + _RAGGED * np.clip(noise, -1, 1)
    _, parts = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)
    crop = parts == parts[height // 2, width // 2]
    depth = cv2.distanceTransform(np.pad(crop.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    mask = Mask(crop, place[0], place[1], (size_wh[1], size_wh[0])).trimmed()
    return Blob(mask, (place[0] + int(column), place[1] + int(row)))


def _noise(
    rng: np.random.Generator, size_wh: tuple[int, int], detail: float
) -> NDArray[np.float32]:
    """Smooth noise, float32 (H, W), of mean 0 and deviation about 1/2, `detail` pixels coarse."""
    width, height = size_wh
    cells = (int(height / detail) + 2, int(width / detail) + 2)
    coarse = rng.standard_normal(cells).astype(np.float32) / 2
    return np.asarray(cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC), np.float32)


def _box(mask: Mask) -> tuple[int, int, int, int]:
    height, width = mask.crop.shape
    return mask.left, mask.top, mask.left + width, mask.top + height
