"""The shapes that Label Studio's editor draws, read from its results.

https://labelstud.io/tags has what each tag saves.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.boxes import from_percent
from grounded_labeler.core.rotated import RotatedBox
from grounded_labeler.errors import PromptError

_MOST_PERCENT = 1_000_000

UNREADABLE_STROKE = "The brush stroke cannot be read: draw it again."
_NO_POSITION = "A click or a box has no position on the image: draw it again."


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


def read_shape(item: Mapping[str, Any]) -> Shape | None:
    """The shape that a result holds; None for a result of another kind, as a polygon's.

    Raises PromptError, with a sentence for the annotator, for a shape without a position.
    """
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
                raise PromptError(UNREADABLE_STROKE)
            return Stroke(tuple(rle))
        case _:
            return None


def labels_of(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The labels that the results of one region give it, in their order; none are left out.

    That of a bare <Rectangle> is in a result of its `<Labels>` tag, or beside the shape itself.
    """
    found: list[str] = []
    for item in results:
        value, kind = item.get("value"), item.get("type")
        if not isinstance(value, dict) or not isinstance(kind, str):
            continue
        labels = value.get(kind) or value.get("labels")
        if isinstance(labels, list):
            found += [label for label in labels if isinstance(label, str) and label]
    return found


def _numbers(value: dict[str, Any], *names: str) -> list[float]:
    numbers = [value.get(name) for name in names]
    return [finite(number) for number in numbers]


def _rotation(value: dict[str, Any]) -> float:
    degrees = value.get("rotation")
    return 0.0 if degrees is None else finite(degrees)


def finite(number: object) -> float:
    """A coordinate in percent; raises PromptError for what is none."""
    # Larger ones are no percent of anything, and may not even fit a float; NaN is not smaller.
    match number:
        case int() | float() if not isinstance(number, bool) and abs(number) < _MOST_PERCENT:
            return float(number)
    raise PromptError(_NO_POSITION)


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def box_around(shape: DrawnBox, size_wh: tuple[int, int]) -> NDArray[np.float64]:
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


def rotated_box_of(item: Mapping[str, Any], size_wh: tuple[int, int]) -> RotatedBox | None:
    """The box of a result as somebody turned it, in pixels of the displayed image of `size_wh`.

    It may reach over the edge of the image. Of an ellipse it is the box that it touches on all
    sides. None for a box that is upright or without an area, and for a result of another kind.
    Raises PromptError for a box without a position.
    """
    shape = read_shape(item)
    degrees = shape.degrees % 360 if isinstance(shape, DrawnBox) else 0.0
    if not isinstance(shape, DrawnBox) or not degrees:
        return None
    image_width, image_height = size_wh
    x, y = shape.x * image_width / 100, shape.y * image_height / 100
    width, height = shape.width * image_width / 100, shape.height * image_height / 100
    if not width or not height:
        return None
    angle = 0.0 if shape.is_ellipse else math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    return RotatedBox(
        x + (width * cos - height * sin) / 2,
        y + (width * sin + height * cos) / 2,
        abs(width),
        abs(height),
        degrees,
    )
