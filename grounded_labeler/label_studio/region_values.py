"""The `value` of a region: where an object is, as Label Studio keeps it.

https://labelstud.io/tags has what each tag saves.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.boxes import points_to_percent, to_percent
from grounded_labeler.core.polygons import LeftOut, trace
from grounded_labeler.core.rotated import RotatedBox, box_to_draw
from grounded_labeler.core.types import Mask
from grounded_labeler.label_studio.brush_rle import encode_rle
from grounded_labeler.label_studio.mask_image import bitmask_url
from grounded_labeler.label_studio.schema import Control

_DIGITS = 4  # as of all coordinates in percent

Value = dict[str, Any]
# See `region_values`.
ValuesOf = Callable[
    [Control, NDArray[np.float32], Mask | None, tuple[int, int]],
    tuple[list[Value], LeftOut | None],
]


def region_values(
    control: Control, box: NDArray[np.float32], mask: Mask | None, size_wh: tuple[int, int]
) -> tuple[list[Value], LeftOut | None]:
    """Return the values of the regions of one object, without label, and what polygons leave out.

    Args:
        control: the tag to draw with.
        box: float32 (1, 4), xyxy in pixels.
        mask: the mask of the object; without one only a box can be drawn.
        size_wh: width and height of the displayed image in pixels.

    Returns:
        One value, or several for polygons or vectors of a mask in several parts; and what these
        lack of the mask, where they lack anything.
    """
    if control.geometry == "box":
        rotated = None if mask is None or not control.form.is_rotated else box_to_draw(mask)
        if rotated is None or not rotated.degrees:
            around = box if rotated is None else rotated.corners()[[0, 2]].reshape(1, 4)
            x, y, width, height = to_percent(around.astype(np.float32), size_wh)[0].tolist()
            return [{"x": x, "y": y, "width": width, "height": height, "rotation": 0}], None
        return [rotated_value(rotated, size_wh)], None
    if mask is None:
        return [], None
    if control.geometry == "bitmask":
        return [{"imageDataURL": bitmask_url(mask)}], None
    if control.geometry == "brush":
        return [{"format": "rle", "rle": encode_rle(mask)}], None
    made = trace(mask, control.form.tolerance, control.form.max_points)
    outlines = [points_to_percent(outline, size_wh).tolist() for outline in made.outlines]
    values = [
        {"points": points, "closed": True}
        if control.geometry == "polygon"
        else {"vertices": _vertices(points), "closed": True}
        for points in outlines
    ]
    return values, made.left_out if made.left_out.pixels else None


def rotated_value(box: RotatedBox, size_wh: tuple[int, int]) -> Value:
    """Return the value of a box that is turned; `rotated_box_of` reads it.

    Label Studio turns it clockwise, in pixels, about the corner that was top left. The editor
    shows and keeps a corner outside the image, so `x` and `y` may be below 0 or above 100.
    """
    left, top = box.corners()[0]
    width, height = size_wh
    x, y, wide, high = (
        round(float(100 * pixels / of), _DIGITS)
        for pixels, of in ((left, width), (top, height), (box.width, width), (box.height, height))
    )
    degrees = round(box.degrees, _DIGITS) % 360
    return {"x": x, "y": y, "width": wide, "height": high, "rotation": degrees}


def _vertices(points: Sequence[Sequence[float]]) -> list[Value]:
    """The points of a closed vector. Each names the one before it: so the editor draws edges."""
    return [
        {"id": str(i), "prevPointId": str((i - 1) % len(points)), "x": x, "y": y, "isBezier": False}
        for i, (x, y) in enumerate(points)
    ]
