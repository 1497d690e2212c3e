"""What an annotator drew with smart tools, read from the `context` of a request.

Label Studio sends all clicks of one label together, oldest first, and all boxes of one label;
other front ends send a box and clicks of one object together. Its interactive layer names no
tag: https://labelstud.io/guide/ml_create describes neither, the captured requests of the tests do.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.boxes import box_iou, clip_boxes, has_min_side, points_from_percent
from grounded_labeler.core.types import Boxes
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.errors import PromptError
from grounded_labeler.label_studio.brush_rle import decode_rle
from grounded_labeler.label_studio.context import results_in
from grounded_labeler.label_studio.schema import ImageTarget, LabelConfig
from grounded_labeler.label_studio.shapes import (
    UNREADABLE_STROKE,
    Click,
    DrawnBox,
    Shape,
    Stroke,
    box_around,
    labels_of,
    read_shape,
)

MAX_CLICKS = 100
_MAX_BOXES = 20
_STROKE_POINTS = 5
# A scribble all over 12 megapixels has some 400,000.
_MAX_STROKE_BYTES = 1_000_000
# Boxes that overlap by more are two attempts at one object: the newer one holds.
_SAME_OBJECT = 0.5

_OUTSIDE = "A click lies outside the image: click on the object."
_NO_AREA = "The box has no area on the image: draw it around the whole object."
_ONLY_NEGATIVE = (
    "All clicks say what is not the object: click on the object, too, without the Alt key."
)
_TOO_MANY_CLICKS = f"More than {MAX_CLICKS} clicks on one object are too many: begin again."
_TOO_MANY_BOXES = f"More than {_MAX_BOXES} boxes at once are too many: accept some of them first."
_RAGGED_STROKE = "The brush stroke has too many edges: draw a simpler one."


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

    Shapes of tags that the config marks with model_skip="true" are passed over, and so are
    parts to look closer at and what is no shape. Raises PromptError, with a sentence for the
    annotator, for a shape without a position.
    """
    items = results_in(context)
    drawings = []
    for number, target in enumerate(config.images):
        # The interactive layer may name no image: it knows one.
        names = (target.name, None) if number == 0 else (target.name,)
        drawn: dict[object, tuple[dict[str, Any], Shape]] = {}
        for place, item in enumerate(items):
            if item.get("to_name") not in names or is_skipped(item, config):
                continue
            if target.is_search(item):
                continue
            # A region comes once for each tag that gave it a label, always with the same id.
            region = own if isinstance(own := item.get("id"), str) else place
            if region not in drawn and (shape := read_shape(item)) is not None:
                drawn[region] = item, shape
        if drawn:
            newest, _ = list(drawn.values())[-1]
            shapes = tuple(shape for _, shape in drawn.values())
            beside = [
                item
                for item in items
                if item.get("type") == "labels" and item.get("id") == newest.get("id")
            ]
            label = next(iter(labels_of([newest, *beside])), None)
            drawings.append((target, Drawing(shapes, label)))
    return drawings


def is_skipped(item: Mapping[str, Any], config: LabelConfig) -> bool:
    """Return whether a result is of a tag that the config has this service leave alone."""
    name = item.get("from_name")
    return isinstance(name, str) and name in config.skipped


def _boxes(shapes: Sequence[DrawnBox], size_wh: tuple[int, int]) -> Boxes:
    """The boxes of different objects, float32 (N, 4) in pixels, oldest first."""
    if len(shapes) > _MAX_BOXES:
        raise PromptError(_TOO_MANY_BOXES)
    corners = [box_around(shape, size_wh) for shape in shapes]
    boxes = clip_boxes(np.array(corners, np.float32).reshape(-1, 4), size_wh)
    if not has_min_side(boxes).all():
        raise PromptError(_NO_AREA)
    overlap = np.triu(box_iou(boxes, boxes), 1) > _SAME_OBJECT
    return boxes[~overlap.any(axis=1)]


def _points_along(stroke: Stroke, size_wh: tuple[int, int]) -> NDArray[np.float64]:
    """Points on the middle line of a stroke, (P, 2) in pixels, as far apart as they can be."""
    width, height = size_wh
    if len(stroke.rle) > _MAX_STROKE_BYTES:
        raise PromptError(_RAGGED_STROKE)
    try:
        pixels = decode_rle(stroke.rle, (height, width))
    except ValueError as error:
        raise PromptError(UNREADABLE_STROKE) from error
    if not pixels.any():
        raise PromptError(UNREADABLE_STROKE)
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
