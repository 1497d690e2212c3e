"""What an annotator drew with smart tools, read from the `context` of a request.

Label Studio sends all clicks of one label together, oldest first, and all boxes of one label;
other front ends send a box and clicks of one object together. Its interactive layer names no
tag: https://labelstud.io/guide/ml_create describes neither, the captured requests of the tests do.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.boxes import (
    box_iou,
    clip_boxes,
    from_percent,
    has_min_side,
    points_from_percent,
)
from grounded_labeler.core.types import Boxes
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.errors import PromptError
from grounded_labeler.label_studio.brush_rle import decode_rle
from grounded_labeler.label_studio.context import results_in
from grounded_labeler.label_studio.schema import ImageTarget, LabelConfig

MAX_CLICKS = 100
_MAX_BOXES = 20
_STROKE_POINTS = 5
# A scribble all over 12 megapixels has some 400,000. The SDK decodes each in 600 bytes of memory.
_MAX_STROKE_BYTES = 1_000_000
_MOST_PERCENT = 1_000_000
# Boxes that overlap by more are two attempts at one object: the newer one holds.
_SAME_OBJECT = 0.5

_NO_POSITION = "A click or a box has no position on the image: draw it again."
_OUTSIDE = "A click lies outside the image: click on the object."
_NO_AREA = "The box has no area on the image: draw it around the whole object."
_ONLY_NEGATIVE = (
    "All clicks say what is not the object: click on the object, too, without the Alt key."
)
_TOO_MANY_CLICKS = f"More than {MAX_CLICKS} clicks on one object are too many: begin again."
_TOO_MANY_BOXES = f"More than {_MAX_BOXES} boxes at once are too many: accept some of them first."
_UNREADABLE_STROKE = "The brush stroke cannot be read: draw it again."
_RAGGED_STROKE = "The brush stroke has too many edges: draw a simpler one."


@dataclass(frozen=True)
class Click:
    """A click at `x` and `y`, in percent of the displayed image."""

    x: float
    y: float
    is_positive: bool


@dataclass(frozen=True)
class DrawnBox:
    """A rectangle or, if `is_ellipse`, the ellipse in it, before it was rotated.

    In percent of the displayed image. A rectangle is rotated about its upper left corner, an
    ellipse about its centre, by `degrees` clockwise.
    """

    x: float
    y: float
    width: float
    height: float
    degrees: float = 0.0
    is_ellipse: bool = False


@dataclass(frozen=True)
class Stroke:
    """A brush stroke, as the run lengths of Label Studio's brush regions."""

    rle: tuple[int, ...]


Shape = Click | DrawnBox | Stroke


@dataclass(frozen=True)
class Drawing:
    """The shapes that an annotator drew on one image, oldest first, with the newest's label."""

    shapes: tuple[Shape, ...]
    label: str | None

    def prompts(self, size_wh: tuple[int, int]) -> VisualPrompts:
        """Return what the segmenter is given, in pixels of an image of `size_wh`.

        With a click, all is about one object, whose box is the newest one; without, each box
        is an object. Raises PromptError, with a sentence for the annotator, when there is
        nothing that a segmenter could use.
        """
        boxes = _boxes([shape for shape in self.shapes if isinstance(shape, DrawnBox)], size_wh)
        clicks = [shape for shape in self.shapes if isinstance(shape, Click)]
        strokes = [shape for shape in self.shapes if isinstance(shape, Stroke)]
        if not clicks and not strokes:
            return VisualPrompts.of_boxes(boxes)
        if len(clicks) > MAX_CLICKS:
            raise PromptError(_TOO_MANY_CLICKS)
        if any(not (0 <= click.x <= 100 and 0 <= click.y <= 100) for click in clicks):
            raise PromptError(_OUTSIDE)
        are_positive = [click.is_positive for click in clicks]
        points = points_from_percent(
            np.array([(click.x, click.y) for click in clicks]).reshape(-1, 2), size_wh
        )
        along = [_points_along(stroke, size_wh) for stroke in strokes[-1:]]
        points = np.concatenate([points, *along])
        are_positive += [True] * (len(points) - len(clicks))
        if not len(boxes) and not any(are_positive):
            raise PromptError(_ONLY_NEGATIVE)
        return VisualPrompts(
            boxes[-1:] if len(boxes) else None,
            points[None].astype(np.float32),
            np.array([are_positive]),
        )


def read_drawings(context: object, config: LabelConfig) -> list[tuple[ImageTarget, Drawing]]:
    """Read what an annotator drew on each image, by a request's `params.context`.

    Shapes of tags that the config marks with model_skip="true" are passed over, and so is what
    is no shape. Raises PromptError, with a sentence for the annotator, for a shape without a
    position.
    """
    items = results_in(context)
    drawings = []
    for number, target in enumerate(config.images):
        # The interactive layer may name no image: it knows one.
        names = (target.name, None) if number == 0 else (target.name,)
        drawn: dict[object, tuple[dict[str, Any], Shape]] = {}
        for place, item in enumerate(items):
            if item.get("to_name") not in names or _is_skipped(item, config):
                continue
            # A region comes once for each tag that gave it a label, always with the same id.
            region = own if isinstance(own := item.get("id"), str) else place
            if region not in drawn and (shape := _read_shape(item)) is not None:
                drawn[region] = item, shape
        if drawn:
            newest, _ = list(drawn.values())[-1]
            shapes = tuple(shape for _, shape in drawn.values())
            drawings.append((target, Drawing(shapes, _label(newest, items))))
    return drawings


def _read_shape(item: dict[str, Any]) -> Shape | None:
    kind, value = item.get("type"), item.get("value")
    if not isinstance(kind, str) or not isinstance(value, dict):
        return None
    match kind.removesuffix("labels"):
        case "keypoint":
            x, y = _numbers(value, "x", "y")
            # Label Studio's smart tools say it beside the value, its interactive layer inside.
            is_positive = item.get("is_positive", value.get("positive")) is not False
            return Click(x, y, is_positive)
        case "rectangle":
            x, y, width, height = _numbers(value, "x", "y", "width", "height")
            return DrawnBox(x, y, width, height, _rotation(value))
        case "ellipse":
            x, y, radius_x, radius_y = _numbers(value, "x", "y", "radiusX", "radiusY")
            left, top = x - radius_x, y - radius_y
            return DrawnBox(
                left, top, 2 * radius_x, 2 * radius_y, _rotation(value), is_ellipse=True
            )
        case "brush":
            rle = value.get("rle")
            if not isinstance(rle, list) or not all(_is_byte(byte) for byte in rle):
                raise PromptError(_UNREADABLE_STROKE)
            if len(rle) > _MAX_STROKE_BYTES:
                raise PromptError(_RAGGED_STROKE)
            return Stroke(tuple(rle))
        case _:
            return None


def _is_skipped(item: dict[str, Any], config: LabelConfig) -> bool:
    name = item.get("from_name")
    return isinstance(name, str) and name in config.skipped


def _label(shape: dict[str, Any], items: Sequence[dict[str, Any]]) -> str | None:
    """The label of a shape; that of a bare <Rectangle> is in a result of its `<Labels>` tag."""
    beside = [
        item
        for item in items
        if item.get("type") == "labels"
        and item.get("id") == shape.get("id")
        and isinstance(item.get("value"), dict)
    ]
    for item in (shape, *beside):
        value, kind = item["value"], item["type"]
        labels = value.get(kind) or value.get("labels")
        if isinstance(labels, list) and labels and isinstance(labels[0], str):
            return labels[0]
    return None


def _numbers(value: dict[str, Any], *names: str) -> list[float]:
    numbers = [value.get(name) for name in names]
    return [_finite(number) for number in numbers]


def _rotation(value: dict[str, Any]) -> float:
    degrees = value.get("rotation")
    return 0.0 if degrees is None else _finite(degrees)


def _finite(number: object) -> float:
    # Larger ones are no percent of anything, and may not even fit a float; NaN is not smaller.
    match number:
        case int() | float() if not isinstance(number, bool) and abs(number) < _MOST_PERCENT:
            return float(number)
    raise PromptError(_NO_POSITION)


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _boxes(shapes: Sequence[DrawnBox], size_wh: tuple[int, int]) -> Boxes:
    """The boxes of different objects, float32 (N, 4) in pixels, oldest first."""
    if len(shapes) > _MAX_BOXES:
        raise PromptError(_TOO_MANY_BOXES)
    corners = [_around(shape, size_wh) for shape in shapes]
    boxes = clip_boxes(np.array(corners, np.float32).reshape(-1, 4), size_wh)
    if not has_min_side(boxes).all():
        raise PromptError(_NO_AREA)
    overlap = np.triu(box_iou(boxes, boxes), 1) > _SAME_OBJECT
    return boxes[~overlap.any(axis=1)]


def _around(shape: DrawnBox, size_wh: tuple[int, int]) -> NDArray[np.float64]:
    """The box around a shape that may be rotated, float64 (4,) xyxy in pixels."""
    percent = np.array([[shape.x, shape.y, shape.width, shape.height]])
    x0, y0, x1, y1 = from_percent(percent, size_wh)[0].astype(np.float64)
    if not shape.degrees:
        return np.array([min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)])
    angle = math.radians(shape.degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    if shape.is_ellipse:
        centre = np.array([x0 + x1, y0 + y1]) / 2
        a, b = (x1 - x0) / 2, (y1 - y0) / 2
        half = np.array([math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)])
        return np.concatenate([centre - half, centre + half])
    corners = np.array([(0, 0), (x1 - x0, 0), (0, y1 - y0), (x1 - x0, y1 - y0)])
    turned = corners @ np.array([[cos, sin], [-sin, cos]]) + (x0, y0)
    return np.concatenate([turned.min(axis=0), turned.max(axis=0)])


def _points_along(stroke: Stroke, size_wh: tuple[int, int]) -> NDArray[np.float64]:
    """Points on the middle line of a stroke, (P, 2) in pixels, as far apart as they can be."""
    width, height = size_wh
    # Its first four bytes say how many values follow; who makes them up makes memory up.
    count = int.from_bytes(bytes(stroke.rle[:4]), "big")
    try:
        if count != width * height * 4:
            raise PromptError(_UNREADABLE_STROKE)
        pixels = decode_rle(list(stroke.rle), (height, width))
    except (ValueError, IndexError, OverflowError) as error:
        raise PromptError(_UNREADABLE_STROKE) from error
    if not pixels.any():
        raise PromptError(_UNREADABLE_STROKE)
    depth = cv2.distanceTransform(np.pad(pixels, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    middle = np.argwhere(depth >= 0.8 * depth.max())[:, ::-1].astype(np.float64) + 0.5
    return _far_apart(middle, _STROKE_POINTS)


def _far_apart(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    chosen = [0]
    gaps = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < min(count, len(points)) and gaps.max() > 0:
        chosen.append(int(gaps.argmax()))
        gaps = np.minimum(gaps, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return points[chosen]


def count_shapes(shapes: Iterable[Shape]) -> str:
    """Say how many clicks, boxes and strokes there are, as "2 clicks and 1 box"."""
    names = {Click: ("click", "clicks"), DrawnBox: ("box", "boxes"), Stroke: ("stroke", "strokes")}
    every = list(shapes)
    parts = []
    for kind, (one, many) in names.items():
        number = sum(isinstance(shape, kind) for shape in every)
        if number:
            parts.append(f"{number} {one if number == 1 else many}")
    return " and ".join(parts)
