"""What people, or an earlier prediction, say is in an image: Label Studio's regions as objects.

The editor measures in percent of the displayed image, however an annotator turns it on the
screen: `image_rotation` changes no region. https://labelstud.io/guide/task_format has the form.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grounded_labeler._text import shorten
from grounded_labeler.coco import CocoRle, coco_box, coco_rle, coco_rle_of_polygons
from grounded_labeler.core.boxes import clip_boxes, points_from_percent
from grounded_labeler.core.masks import Mask
from grounded_labeler.errors import GroundedLabelerError, ImageError, PromptError
from grounded_labeler.evaluation.types import Truth
from grounded_labeler.label_studio.annotated_objects import AnnotatedObject, join_regions
from grounded_labeler.label_studio.brush_rle import decode_rle
from grounded_labeler.label_studio.context import results_in
from grounded_labeler.label_studio.mask_image import decode_bitmask
from grounded_labeler.label_studio.outlines import outline_of
from grounded_labeler.label_studio.regions import object_of
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio.shapes import (
    DrawnBox,
    box_around,
    labels_of,
    read_shape,
    rotated_box_of,
)

logger = logging.getLogger(__name__)

_BOXES = frozenset({"rectangle", "ellipse"})
_OUTLINES = frozenset({"polygon", "vector"})
_MASKS = _OUTLINES | {"brush", "bitmask"}
_MAX_PIXELS = 2**30  # a brush region can count no more values, four a pixel


class AnnotationError(GroundedLabelerError):
    """What an annotation says cannot be laid on its image; the message says why."""


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """What a result says is in one image of `size_hw`, height and width in pixels.

    `without_label` and `unreadable` count the regions that are no objects for that reason.
    """

    objects: tuple[AnnotatedObject, ...]
    size_hw: tuple[int, int]
    without_label: int
    unreadable: int


def read_objects(
    result: object, target: ImageTarget, size_wh: tuple[int, int] | None = None
) -> Truth:
    """Read the objects in the `result` of an annotation or a prediction that are on one image.

    Rectangles and ellipses are boxes, around them where they are turned; polygons, closed
    vectors, brush and bitmask regions are masks, with the tightest box. A region counts under the
    first of its labels that `target` has, or else under its first one; without a label it does
    not count.
    Regions that this service drew of one object are one object, as long as they have one label
    and overlap; so are a rectangle and a mask of one label whose boxes overlap by an IoU of 0.8.
    Several polygons that somebody else drew of one object are several objects: nothing tells.
    What does not look like a region is passed over, as are masks without a pixel and boxes
    without an area.

    Args:
        result: the list that Label Studio keeps; anything else holds no object.
        target: the image, by whose name results are chosen; with the task's own labels where
            the config has them there (`with_task_labels`).
        size_wh: width and height of the displayed image in pixels. None takes what the regions
            say, which a result without regions does not.

    Raises AnnotationError where no size is known, and for a mask that is damaged or was drawn on
    an image of another size: the file was changed, or turned by EXIF, since.
    """
    read = read_image(result, target, size_wh)
    if read.unreadable:
        logger.warning(
            'image "%s": %d region(s) cannot be read and are left out', target.name, read.unreadable
        )
    return _truth(read.objects, read.size_hw)


def read_image(
    result: object, target: ImageTarget, size_wh: tuple[int, int] | None = None
) -> AnnotatedImage:
    """Read what `read_objects` reads, with all that is known of each object.

    Raises AnnotationError as `read_objects` does.
    """
    regions = _regions(result, target)
    if size_wh is None:
        sizes = (_size_of(item) for items in regions for item in items)
        size_wh = next((size for size in sizes if size is not None), None)
    if size_wh is None:
        raise AnnotationError(
            f'The annotation does not say how large the image "{shorten(target.name)}" is.'
        )
    known = frozenset(label.value for label in target.labels)
    found: list[AnnotatedObject] = []
    without_label = unreadable = 0
    for items in regions:
        labels = labels_of(items)
        label = next((label for label in labels if label in known), next(iter(labels), None))
        if label is None:
            without_label += 1
            continue
        try:
            one = _read(items, label, size_wh)
        except (PromptError, ValueError):
            unreadable += 1
            continue
        if one is not None:
            found.append(one)
    objects = tuple(join_regions(found))
    return AnnotatedImage(objects, size_wh[::-1], without_label, unreadable)


def says_size(result: object, target: ImageTarget) -> bool:
    """Whether the regions on this image in the `result` say how large it is."""
    drawn = (item for items in _regions(result, target) for item in items)
    return any(_size_of(item) is not None for item in drawn)


def holds_mask(result: object, target: ImageTarget) -> bool:
    """Whether there is a polygon, a vector, a brush or a bitmask region on this image."""
    drawn = (item for items in _regions(result, target) for item in items)
    return any(_kind(item) in _MASKS for item in drawn)


def _regions(result: object, target: ImageTarget) -> list[list[dict[str, Any]]]:
    """The results of each shape on the image: those of one region have one id."""
    groups: dict[object, list[dict[str, Any]]] = {}
    for place, item in enumerate(results_in({"result": result})):
        is_own = item.get("to_name") == target.name and not target.is_search(item)
        if is_own and isinstance(item.get("value"), dict):
            own = item.get("id")
            groups.setdefault(own if isinstance(own, str) else place, []).append(item)
    return [items for items in groups.values() if any(map(_kind, items))]


def _kind(item: Mapping[str, Any]) -> str:
    """What shape a result is, "" for a result of another type."""
    kind = item.get("type")
    name = kind.removesuffix("labels") if isinstance(kind, str) else ""
    return name if name in _BOXES | _MASKS else ""


def _size_of(item: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = item.get("original_width"), item.get("original_height")
    match width, height:
        case int(), int() if width > 0 and height > 0 and width * height <= _MAX_PIXELS:
            return width, height
    return None


def _score(items: Sequence[Mapping[str, Any]]) -> float | None:
    for item in items:
        match item.get("score"):
            case int() | float() as score if not isinstance(score, bool) and 0 <= score <= 1:
                return float(score)
    return None


def _read(
    items: Sequence[dict[str, Any]], label: str, size_wh: tuple[int, int]
) -> AnnotatedObject | None:
    """The object that a region is, None for one without extent.

    Raises PromptError or ValueError for what does not look like a shape, AnnotationError for a
    mask that does not fit the image.
    """
    item = next(item for item in items if _kind(item))
    kind, own = _kind(item), item.get("id")
    drawn = object_of(own) if isinstance(own, str) else ""
    score = _score(items)
    if kind in _BOXES:
        shape = read_shape(item)
        if not isinstance(shape, DrawnBox):
            return None
        corners = box_around(shape, size_wh).astype(np.float32)[None]
        box, rotated = clip_boxes(corners, size_wh)[0], rotated_box_of(item, size_wh)
        one = AnnotatedObject(label, box, None, rotated, score, drawn, kind == "rectangle")
    else:
        if kind in _OUTLINES:
            outline = outline_of(item["value"])
            if outline is None:
                return None
            points = points_from_percent(outline.clip(0, 100), size_wh)
            mask = coco_rle_of_polygons([points], size_wh[::-1])
        else:
            mask = _mask(item, kind, size_wh)
        one = AnnotatedObject(label, coco_box(mask), mask, None, score, drawn)
    return one if (one.box[2:] > one.box[:2]).all() else None


def _mask(item: Mapping[str, Any], kind: str, size_wh: tuple[int, int]) -> CocoRle:
    width, height = size_wh
    size, value = _size_of(item), item["value"]
    if size is not None and size != size_wh:
        raise AnnotationError(_unlike(item, size_wh, f"was drawn on one of {size[0]} x {size[1]}"))
    if kind == "bitmask":
        url = value.get("imageDataURL")
        if not isinstance(url, str):
            raise ValueError("a bitmask has an image")
    else:
        read_shape(item)  # whether there are run lengths at all
    try:
        if kind == "bitmask":
            pixels = decode_bitmask(url, (height, width))
        else:
            pixels = decode_rle(value["rle"], (height, width))
    except (ImageError, ValueError) as error:
        reason = "is damaged, or was drawn on one of another size"
        raise AnnotationError(_unlike(item, size_wh, reason)) from error
    return coco_rle(Mask.from_full(pixels))


def _unlike(item: Mapping[str, Any], size_wh: tuple[int, int], reason: str) -> str:
    return (
        f'The mask "{shorten(str(item.get("id")))}" does not fit the image of {size_wh[0]} x '
        f"{size_wh[1]} pixels: it {reason}."
    )


def _truth(objects: Sequence[AnnotatedObject], size_hw: tuple[int, int]) -> Truth:
    return Truth(
        boxes=np.array([one.box for one in objects], np.float32).reshape(-1, 4),
        labels=tuple(one.label for one in objects),
        masks=tuple(one.mask for one in objects),
        is_crowd=np.zeros(len(objects), np.bool_),
        size_hw=size_hw,
    )
