"""The part of an image that an annotator looks closer at."""

import math
from dataclasses import dataclass

import numpy as np

from grounded_labeler.core.boxes import clip_boxes
from grounded_labeler.core.tiling import Rectangle
from grounded_labeler.errors import PromptError
from grounded_labeler.label_studio.context import results_in
from grounded_labeler.label_studio.drawings import is_skipped
from grounded_labeler.label_studio.schema import ImageTarget, LabelConfig
from grounded_labeler.label_studio.shapes import DrawnBox, box_around, read_shape

_MIN_SIDE = 8  # pixels; no detector finds anything in less
# A coordinate in percent has more digits than a pixel needs: an edge on one stays there.
_ROUNDING = 1e-3

_OUTSIDE = "The rectangle lies outside the image: draw it around what to look at."
_TOO_SMALL = (
    f"The rectangle is less than {_MIN_SIDE} pixels wide or high: draw it around what to look at."
)


@dataclass(frozen=True)
class SearchArea:
    """A rectangle that an annotator drew, in percent of the displayed image."""

    drawn: DrawnBox

    def in_pixels(self, size_wh: tuple[int, int]) -> Rectangle:
        """Return the pixels, xyxy, of an image of `size_wh` that are in the rectangle.

        Of a turned one, those of the box around it. Raises PromptError, with a sentence for the
        annotator, where they are too few or none.
        """
        left, top, right, bottom = around = box_around(self.drawn, size_wh)
        width, height = size_wh
        if right <= 0 or bottom <= 0 or left >= width or top >= height:
            raise PromptError(_OUTSIDE)
        x0, y0, x1, y1 = clip_boxes(around.astype(np.float32)[None], size_wh)[0].tolist()
        area = (
            math.floor(x0 + _ROUNDING),
            math.floor(y0 + _ROUNDING),
            math.ceil(x1 - _ROUNDING),
            math.ceil(y1 - _ROUNDING),
        )
        if min(area[2] - area[0], area[3] - area[1]) < _MIN_SIDE:
            raise PromptError(_TOO_SMALL)
        return area


def read_search_areas(context: object, config: LabelConfig) -> list[tuple[ImageTarget, SearchArea]]:
    """Read which part of each image an annotator wants looked at, by `params.context`.

    The editor sends all rectangles that wait for their suggestions to be accepted, oldest first:
    the newest one counts. An image on which something else was drawn after it has none. Raises
    PromptError, with a sentence for the annotator, for a rectangle without a position.
    """
    areas = []
    for target in config.images:
        if target.search_name is None:
            continue
        own = [
            item
            for item in results_in(context)
            if item.get("to_name") == target.name and not is_skipped(item, config)
        ]
        shapes = [(item, shape) for item in own if (shape := read_shape(item)) is not None]
        if not shapes:
            continue
        newest, shape = shapes[-1]
        if target.is_search(newest) and isinstance(shape, DrawnBox):
            areas.append((target, SearchArea(shape)))
    return areas
