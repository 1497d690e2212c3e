"""What is drawn: boxes and masks in scale, clicks, a sheet whose cells can be found again."""

import numpy as np
import pytest

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Detections
from grounded_labeler.playground.drawing import (
    CELL_WH,
    Cell,
    cell_at,
    draw_image,
    draw_sheet,
    thumbnail_of,
)
from grounded_labeler.playground.selection import Limits
from tests.playground.test_selection import inspection

GREY = np.full((300, 400, 3), 127, np.uint8)
BOX = np.array([100, 50, 200, 150], np.float32)


def detections(*boxes: np.ndarray) -> Detections:
    count = len(boxes)
    scores = np.full(count, 0.5, np.float32)
    stacked = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(stacked, scores, ("star",) * count, (None,) * count)


def test_the_image_itself_is_not_changed() -> None:
    drawn, scale = draw_image(GREY, detections(BOX), {})
    assert scale == 1.0
    assert (GREY == 127).all()
    assert (drawn != 127).any()


def test_nothing_seen_is_the_image() -> None:
    drawn, _ = draw_image(GREY, None, {})
    assert (drawn == GREY).all()


@pytest.mark.parametrize("side", [400, 4000])
def test_masks_lie_where_boxes_do(side: int) -> None:
    pixels = np.full((side, side, 3), 127, np.uint8)
    box = np.array([0.25, 0.25, 0.5, 0.5], np.float32) * side
    full = np.zeros((side, side), np.bool_)
    full[side // 4 : side // 2, side // 4 : side // 2] = True
    drawn, scale = draw_image(pixels, detections(box), {box.tobytes(): Mask.from_full(full)})
    assert max(drawn.shape) <= 1280
    middle = round(side * scale * 3 / 8)
    assert (drawn[middle, middle] != 127).any()
    outside = round(side * scale * 5 / 8)
    assert (drawn[outside, outside] == 127).all()


def test_clicks_are_drawn_where_they_were() -> None:
    drawn, _ = draw_image(GREY, None, {}, None, [(50.0, 60.0, True), (90.0, 60.0, False)])
    assert tuple(drawn[60, 50]) == (22, 163, 74)
    assert tuple(drawn[60, 90]) == (220, 38, 38)


def test_a_sheet_counts_what_is_kept_and_shows_failures() -> None:
    small, scale = thumbnail_of(np.full((20, 60, 3), 127, np.uint8))
    good = Cell("a.jpg", small, scale, inspection())
    bad = Cell("a very long name of a file that is broken.jpg", None, 1.0, "It is damaged.")
    sheet, count = draw_sheet([good, bad, good], Limits(0.3, 0.1))
    assert count == 6
    fewer, less = draw_sheet([good, bad, good], Limits(0.7, 0.1))
    assert less == 2
    assert fewer.shape == sheet.shape
    assert (fewer != sheet).any()


def test_cells_are_found_by_their_pixels() -> None:
    width, height = CELL_WH
    assert cell_at(20, 20, 6) == 0
    assert cell_at(width + 30, 20, 6) == 1
    assert cell_at(20, height + 60, 6) == 4
    assert cell_at(width * 3 + 40, height + 60, 6) is None
    assert cell_at(2, 2, 6) is None
