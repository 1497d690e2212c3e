"""Regions drawn on an image from Label Studio's own form."""

from typing import Any

import numpy as np
import pytest

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Detections, Label
from grounded_labeler.label_studio.image_value import ImageValue
from grounded_labeler.label_studio.regions import encode_regions
from grounded_labeler.label_studio.rendering import box_of, draw, label_of, mask_of
from grounded_labeler.label_studio.schema import Control, Geometry, ImageTarget

GREY = np.full((80, 120, 3), 90, np.uint8)
LABELS = (Label("Cat"),)


def region(geometry: Geometry, label: str | None = "Cat") -> dict[str, Any]:
    kind = {"box": "rectanglelabels", "brush": "brushlabels", "polygon": "polygonlabels"}[geometry]
    control = Control("c", "image", geometry, kind, "c", LABELS)
    target = ImageTarget("image", ImageValue("$image"), (control,), LABELS)
    boxes = np.array([[40, 20, 80, 60]], np.float32)
    detections = Detections(boxes, np.array([0.5], np.float32), ("a cat",), (label,))
    mask = Mask(np.ones((40, 40), np.bool_), 40, 20, (80, 120))
    [made] = encode_regions(detections, [mask], target, (120, 80), "masks")
    return made


@pytest.mark.parametrize("geometry", ["box", "brush", "polygon"])
def test_what_is_drawn_lies_on_the_region(geometry: Geometry) -> None:
    changed = (draw(GREY, [region(geometry)]) != GREY).any(axis=2)
    assert changed[20:60, 40:80].any()
    assert not changed[64:, :].any()
    assert not changed[:, :38].any()


def test_a_mask_is_tinted_through_and_a_box_is_not() -> None:
    middle = (slice(35, 45), slice(55, 65))
    assert (draw(GREY, [region("brush")]) != GREY)[middle].any()
    assert (draw(GREY, [region("box")]) == GREY)[middle].all()


def test_reading_a_region_back() -> None:
    assert box_of(region("box")).tolist() == pytest.approx([40, 20, 80, 60], abs=0.01)
    assert mask_of(region("brush")).sum() == 40 * 40
    assert label_of(region("box")) == "Cat"
    assert label_of(region("box", None)) == "(a cat)"


def test_nothing_to_draw_leaves_the_image() -> None:
    status = {"from_name": "status", "type": "textarea", "value": {"text": ["Nothing found."]}}
    assert np.array_equal(draw(GREY, [status]), GREY)
