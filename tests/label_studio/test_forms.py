"""Rotated boxes, limited polygons and vectors: read from a config, drawn, and read back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface.interface import LabelInterface
from numpy.typing import NDArray

from grounded_labeler.coco import coco_mask
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.polygons import LeftOut
from grounded_labeler.core.rotated import RotatedBox, smallest_rotated_box
from grounded_labeler.core.types import Detections
from grounded_labeler.errors import BadRequest
from grounded_labeler.label_studio.annotations import read_objects
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.outlines import outline_of
from grounded_labeler.label_studio.region_values import rotated_value
from grounded_labeler.label_studio.regions import encode_regions, wants_masks
from grounded_labeler.label_studio.rendering import draw
from grounded_labeler.label_studio.schema import Form, ImageTarget
from grounded_labeler.label_studio.shapes import rotated_box_of
from grounded_labeler.label_studio.status_message import describe_left_out
from grounded_labeler.settings_types import Output
from tests.core.test_polygon_limits import blobs_with_specks
from tests.core.test_polygons import Pixels, disc, iou, ring
from tests.core.test_rotated import turned
from tests.helpers.asking import BRUSH, IMAGE, LABELS, POLYGONS, RECTANGLES, view

ROTATED = RECTANGLES.replace(">", ' rotated="true">', 1)
VECTORS = f'<VectorLabels name="vec" toName="image" closable="true">{LABELS}</VectorLabels>'
NAMES = f'<Labels name="names" toName="image">{LABELS}</Labels>'


def target(*tags: str) -> ImageTarget:
    [image] = read_label_config(view(IMAGE, *tags)).images
    return image


def drawn(
    mask: Pixels | None, *tags: str, output: Output = "auto", left_out: Any = None
) -> list[dict[str, Any]]:
    """What the service draws of a circle in an image twice as wide as high or not."""
    size_wh = (200, 200) if mask is None else (mask.shape[1], mask.shape[0])
    found = Detections(
        np.array([[10, 10, 60, 60]], np.float32), np.ones(1, np.float32), ("circle",), ("Circle",)
    )
    masks = None if mask is None else [Mask.from_full(mask)]
    results = encode_regions(found, masks, target(*tags), size_wh, output, left_out=left_out)
    interface: Any = LabelInterface(view(IMAGE, *tags))
    assert interface.validate_prediction({"result": results}, return_errors=True) == []
    return results


def wide(mask: Pixels) -> Pixels:
    """The same in the right half of an image of 400 x 200."""
    return np.asarray(np.hstack([np.zeros_like(mask), mask]))


@pytest.mark.parametrize(
    ("tag", "form"),
    [
        (RECTANGLES, Form()),
        (RECTANGLES.replace(">", ' rotated="false">', 1), Form()),
        (ROTATED, Form(is_rotated=True)),
        (f'<Rectangle name="r" toName="image" Rotated="True"/>{NAMES}', Form(is_rotated=True)),
        (POLYGONS.replace(">", ' tolerance="2.5" max_points="40">', 1), Form(False, 2.5, 40)),
        (VECTORS.replace(">", ' tolerance="0" max_points="3">', 1), Form(False, 0, 3)),
        (BRUSH.replace(">", ' rotated="maybe" tolerance="x">', 1), Form()),
    ],
)
def test_a_config_says_how_to_draw(tag: str, form: Form) -> None:
    [control] = target(tag).controls
    assert control.form == form


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        (
            RECTANGLES.replace(">", ' rotated="maybe">', 1),
            '<RectangleLabels name="label"> has rotated="maybe", which must be true or false.',
        ),
        (
            POLYGONS.replace(">", ' tolerance="2px">', 1),
            'has tolerance="2px", which must be a number of pixels from 0 to 1000.',
        ),
        (POLYGONS.replace(">", ' tolerance="nan">', 1), "from 0 to 1000"),
        (POLYGONS.replace(">", ' tolerance="-1">', 1), "from 0 to 1000"),
        (
            POLYGONS.replace(">", ' max_points="2">', 1),
            'has max_points="2", which must be a whole number of at least 3.',
        ),
        (POLYGONS.replace(">", ' max_points="9.5">', 1), "a whole number of at least 3"),
    ],
)
def test_a_bad_attribute_is_one_sentence(tag: str, says: str) -> None:
    with pytest.raises(BadRequest) as raised:
        target(tag)
    assert says in str(raised.value)


@pytest.mark.parametrize("output", ["auto", "boxes", "both"])
def test_rotated_boxes_are_made_of_masks(output: Output) -> None:
    assert wants_masks(target(ROTATED), output, has_segmenter=True)
    assert not wants_masks(target(ROTATED), output, has_segmenter=False)
    assert not wants_masks(target(RECTANGLES), output, has_segmenter=True)


@pytest.mark.parametrize("place", [lambda mask: mask, wide], ids=["square", "twice as wide"])
@pytest.mark.parametrize("degrees", [-40, -20, 20, 44])
def test_a_rotated_box_is_read_back_as_it_was_drawn(place: Any, degrees: float) -> None:
    mask = place(turned(120, 40, degrees))
    size_wh = (mask.shape[1], mask.shape[0])
    [region] = drawn(mask, ROTATED)
    box, own = rotated_box_of(region, size_wh), smallest_rotated_box(Mask.from_full(mask))
    assert box is not None and own is not None
    np.testing.assert_allclose(box.corners(), own.corners(), atol=0.01)
    assert 0 < region["value"]["rotation"] < 360
    [around] = read_objects([region], target(ROTATED)).boxes
    tops = own.corners()
    np.testing.assert_allclose(around, [*tops.min(axis=0), *tops.max(axis=0)], atol=0.1)


@given(
    st.floats(-50, 250), st.floats(-50, 250), st.floats(1, 300), st.floats(1, 300),
    st.floats(0.001, 359.999),
)  # fmt: skip
def test_writing_and_reading_are_inverse(
    x: float, y: float, width: float, height: float, degrees: float
) -> None:
    box = RotatedBox(x, y, width, height, degrees)
    item = {"type": "rectangle", "value": rotated_value(box, (317, 211))}
    read = rotated_box_of(item, (317, 211))
    assert read is not None
    np.testing.assert_allclose(read.corners(), box.corners(), atol=0.01)


def test_what_gains_nothing_by_turning_is_upright() -> None:
    [region] = drawn(disc(200, (100, 80), 50), ROTATED)
    assert region["value"] == {
        "x": 25, "y": 15, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["Circle"],
    }  # fmt: skip
    assert rotated_box_of(region, (200, 200)) is None


def test_without_a_mask_a_box_is_the_detector_s() -> None:
    for mask in (None, np.zeros((200, 200), np.bool_)):
        [region] = drawn(mask, ROTATED)
        assert [region["value"][key] for key in ("x", "y", "width", "rotation")] == [5, 5, 25, 0]


def test_a_bare_rectangle_and_its_label_are_turned_alike() -> None:
    shape, label = drawn(
        turned(120, 40, 30), f'<Rectangle name="r" toName="image" rotated="true"/>{NAMES}'
    )
    assert label["value"] == {**shape["value"], "labels": ["Circle"]}
    assert shape["value"]["rotation"] == pytest.approx(30, abs=2)


def test_both_gives_a_rotated_box_and_a_mask_of_one_object() -> None:
    box, mask = drawn(turned(120, 40, 30), ROTATED, BRUSH, output="both")
    assert (box["type"], mask["type"]) == ("rectanglelabels", "brushlabels")
    assert box["value"]["rotation"] == pytest.approx(30, abs=2)
    assert len(read_objects([box, mask], target(ROTATED, BRUSH)).boxes) == 1


def test_polygons_keep_to_the_limits_of_their_tag() -> None:
    mask = disc(200, (100, 100), 90)
    fine, coarse, few = (
        len(drawn(mask, POLYGONS.replace(">", f" {limit}>", 1))[0]["value"]["points"])
        for limit in ('tolerance="0.5"', 'tolerance="4"', 'max_points="6"')
    )
    assert fine > coarse > few == 6


@pytest.mark.parametrize(
    "tags", [(VECTORS,), (f'<Vector name="v" toName="image" closable="true"/>{NAMES}',)]
)
def test_vectors_are_read_back_as_they_were_drawn(tags: tuple[str]) -> None:
    mask = ring(200, 90, 60)
    shape, *_ = regions = drawn(mask, *tags)
    vertices = shape["value"]["vertices"]
    assert shape["value"]["closed"] is True
    assert [vertex["prevPointId"] for vertex in vertices[1:]] == [
        vertex["id"] for vertex in vertices[:-1]
    ]
    assert vertices[0]["prevPointId"] == vertices[-1]["id"]
    truth = read_objects(regions, target(*tags))
    [read] = truth.masks
    assert read is not None
    assert iou(coco_mask(read).full(), mask) >= 0.97
    assert truth.labels == ("Circle",)


def test_vectors_are_the_last_choice_and_lines_are_left_alone() -> None:
    assert [one["type"] for one in drawn(disc(200, (9, 9), 9), VECTORS, POLYGONS)] == [
        "polygonlabels"
    ]
    line = VECTORS.replace('closable="true"', "")
    assert [control.name for control in target(line, RECTANGLES).controls] == ["label"]
    with pytest.raises(BadRequest, match='<VectorLabels closable="true">'):
        target(line)


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ({"vertices": [{"x": 0, "y": 0}, {"x": 50, "y": 0}, {"x": 50, "y": 50}]}, False),
        ({"vertices": [{"x": 0, "y": 0}, {"x": 50, "y": 0}], "closed": True}, False),
        ({"vertices": [{"x": 0}, {"y": 0}, 3], "closed": True}, False),
        ({"vertices": "abc", "closed": True}, False),
        ({"vertices": [{"x": 0, "y": 0}, {"x": 50, "y": 0}, {"x": 50, "y": 50}], "closed": True},
         True),
    ],
)  # fmt: skip
def test_a_line_is_no_object_and_nonsense_does_no_harm(value: dict[str, Any], counts: bool) -> None:
    item = {
        "to_name": "image", "from_name": "vec", "type": "vectorlabels",
        "value": value | {"vectorlabels": ["Circle"]},
    }  # fmt: skip
    assert len(read_objects([item], target(VECTORS), (200, 100)).boxes) == counts


def test_curves_of_vectors_are_read_as_the_editor_draws_them() -> None:
    """A circle of four curves, with the handles that every drawing program has for one."""
    k = 20 * 0.5523

    def vertex(x: float, y: float, dx: float, dy: float) -> dict[str, Any]:
        return {
            "x": 50 + x, "y": 50 + y, "isBezier": True,
            "controlPoint1": {"x": 50 + x - dx, "y": 50 + y - dy},
            "controlPoint2": {"x": 50 + x + dx, "y": 50 + y + dy},
        }  # fmt: skip

    corners = [
        vertex(0, -20, k, 0), vertex(20, 0, 0, k), vertex(0, 20, -k, 0), vertex(-20, 0, 0, -k),
    ]  # fmt: skip
    outline = outline_of({"vertices": corners, "closed": True})
    assert outline is not None
    np.testing.assert_allclose(np.hypot(*(outline - 50).T), 20, atol=0.01)
    del corners[1]["controlPoint1"]
    open_ended = outline_of({"vertices": corners, "closed": True})
    assert open_ended is not None
    assert len(open_ended) == len(outline)


@pytest.mark.parametrize(
    ("left_out", "says"),
    [
        ([], ""),
        ([LeftOut(1, 0, 12, 1000)], "Left out 1 speck of 1 object, 1.2 % of the area."),
        (
            [LeftOut(2, 0, 5, 1000), LeftOut(1, 2, 15, 1000)],
            "Left out 3 specks and 2 small holes of 2 objects, 1.0 % of the area.",
        ),
        (
            [LeftOut(0, 1, 1, 9000)],
            "Left out 1 small hole of 1 object, less than 0.1 % of the area.",
        ),
    ],
)
def test_what_polygons_leave_out_is_said(left_out: list[LeftOut], says: str) -> None:
    assert describe_left_out(left_out) == says


def test_what_polygons_leave_out_is_handed_on() -> None:
    mask = blobs_with_specks(3)
    counted: list[LeftOut] = []
    drawn(mask, POLYGONS, left_out=counted)
    [one] = counted
    assert one.pixels > 0
    counted.clear()
    drawn(disc(200, (100, 100), 50), POLYGONS, left_out=counted)
    drawn(mask, BRUSH, left_out=counted)
    assert counted == []


def test_rotated_boxes_and_vectors_are_drawn_on_an_image() -> None:
    blank: NDArray[np.uint8] = np.zeros((200, 200, 3), np.uint8)
    for tag in (ROTATED, VECTORS):
        [region] = drawn(turned(120, 40, 30), tag)
        inked = np.asarray(draw(blank, [region]).any(axis=2))
        assert inked.any()
        # An upright box around it would be drawn at this corner.
        assert not inked[150:160, 40:50].any()
