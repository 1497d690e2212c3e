"""Clicks, boxes and strokes are read from contexts, and what cannot be used gets a sentence."""

import math
from typing import Any

import numpy as np
import pytest

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.errors import PromptError
from grounded_labeler.label_studio.brush_rle import encode_rle
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.drawings import MAX_CLICKS, count_shapes, read_drawings
from tests.helpers.asking import BRUSH, IMAGE, RECTANGLES, view
from tests.helpers.drawing import box, click, ellipse, stroke

CONFIG = read_label_config(
    view(IMAGE, BRUSH, RECTANGLES, '<KeyPointLabels name="points" toName="image" smart="true"/>')
)
SIZE_WH = (200, 100)


def prompts(*shapes: dict[str, Any]) -> VisualPrompts:
    [(_, drawing)] = read_drawings({"result": list(shapes)}, CONFIG)
    return drawing.prompts(SIZE_WH)


def refusal(*shapes: dict[str, Any]) -> str:
    with pytest.raises(PromptError) as error:
        prompts(*shapes)
    return str(error.value)


def test_clicks_are_one_object_in_pixels_and_in_their_order() -> None:
    made = prompts(click(50, 50), click(10, 20, positive=False), click(100, 0))
    assert made.boxes is None
    assert made.points.tolist() == [[[100, 50], [20, 20], [200, 0]]]
    assert made.are_positive.tolist() == [[True, False, True]]


def test_boxes_alone_are_an_object_each() -> None:
    made = prompts(box(10, 10, 20, 20), box(50, 50, 10, 30))
    assert made.boxes is not None
    assert made.boxes.tolist() == [[20, 10, 60, 30], [100, 50, 120, 80]]


def test_a_box_drawn_again_takes_the_place_of_the_one_before() -> None:
    made = prompts(box(10, 10, 20, 20), box(60, 60, 9, 9), box(11, 11, 20, 20))
    assert made.boxes is not None
    assert made.boxes.tolist() == [[120, 60, 138, 69], [22, 11, 62, 31]]


def test_a_box_and_clicks_are_one_object() -> None:
    made = prompts(box(60, 60, 9, 9), box(10, 10, 20, 20), click(15, 15, positive=False))
    assert made.boxes is not None
    assert made.boxes.tolist() == [[20, 10, 60, 30]]
    assert made.are_positive.tolist() == [[False]]


@pytest.mark.parametrize(
    ("shape", "corners"),
    [
        (box(90, 90, 30, 30), [180, 90, 200, 100]),  # cut off at the image's edge
        (box(30, 30, -20, -20), [20, 10, 60, 30]),  # drawn from the lower right
        (box(50, 50, 10, 20, rotation=90), [80, 50, 100, 70]),  # about its upper left corner
        (ellipse(50, 50, 10, 20), [80, 30, 120, 70]),
        (ellipse(50, 50, 10, 20, rotation=90), [80, 30, 120, 70]),  # 20 pixels each way: a circle
        (ellipse(50, 50, 20, 10, rotation=90), [90, 10, 110, 90]),
    ],
)
def test_shapes_as_their_boxes(shape: dict[str, Any], corners: list[float]) -> None:
    made = prompts(shape)
    assert made.boxes is not None
    np.testing.assert_allclose(made.boxes, [corners], atol=1e-4)


def test_a_rotated_ellipse_is_boxed_tightly() -> None:
    made = prompts(ellipse(50, 50, 10, 5, rotation=30))
    assert made.boxes is not None
    half_width = math.hypot(20 * math.cos(math.pi / 6), 5 * math.sin(math.pi / 6))
    assert made.boxes[0, 2] - made.boxes[0, 0] == pytest.approx(2 * half_width, abs=1e-3)


def test_a_stroke_becomes_points_along_its_middle() -> None:
    drawn = np.zeros((100, 200), np.bool_)
    drawn[40:51, 20:181] = True
    made = prompts(stroke(encode_rle(Mask.from_full(drawn))))
    [points] = made.points
    assert made.boxes is None
    assert made.are_positive.all()
    assert 2 <= len(points) <= 5
    assert points[:, 0].min() < 35
    assert points[:, 0].max() > 165
    np.testing.assert_allclose(points[:, 1], 45.5, atol=1.5)


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ([click(50, 50, positive=False)], "click on the object, too"),
        ([click(100.1, 50)], "outside the image"),
        ([click(50, -1)], "outside the image"),
        ([click(math.nan, 50)], "no position"),
        ([click(50, math.inf)], "no position"),
        ([click(10**400, 50)], "no position"),
        ([click("50", 50)], "no position"),
        ([click(True, 50)], "no position"),
        ([{"type": "keypointlabels", "to_name": "image", "value": {}}], "no position"),
        ([box(10, 10, 0, 10)], "no area"),
        ([box(10, 10, 10, 0.5)], "no area"),
        ([box(120, 10, 10, 10)], "no area"),
        ([box(10, 10, None, 10)], "no position"),
        ([click(50, 50) for _ in range(MAX_CLICKS + 1)], "too many"),
        ([click(50, 50) for _ in range(500)], "too many"),
        ([box(i, i, 3, 3) for i in range(0, 84, 4)], "too many"),
        ([stroke([0, 0])], "cannot be read"),
        ([stroke([255] * 40)], "cannot be read"),
        ([stroke([0, 1, 56, 128, 1, 2, 3])], "cannot be read"),
        ([stroke([999])], "cannot be read"),
        ([stroke(None)], "cannot be read"),
        ([stroke([0, 1, 56, 128, *[255] * 4_000_000])], "simpler"),  # would take 2 GB to decode
        ([stroke(encode_rle(Mask.from_full(np.zeros((100, 200), np.bool_))))], "cannot be read"),
    ],
)
def test_what_cannot_be_used_gets_a_sentence(shapes: list[dict[str, Any]], sentence: str) -> None:
    said = refusal(*shapes)
    assert sentence in said
    assert said.endswith(".")


@pytest.mark.parametrize(
    "item",
    [
        None, 3, "x", [], {}, {"type": "keypointlabels"}, {"type": 3, "value": {}},
        {"type": "choices", "value": {"choices": ["a"]}, "to_name": "image"},
        {"type": "polygonlabels", "value": {"points": []}, "to_name": "image"},
        click(50, 50) | {"to_name": "another"},
        click(50, 50) | {"to_name": ["image"]},
    ],
)  # fmt: skip
def test_what_is_no_shape_of_the_image_is_passed_over(item: object) -> None:
    assert read_drawings({"result": [item]}, CONFIG) == []


@pytest.mark.parametrize("context", [None, [], "x", {}, {"result": None}, {"result": {"a": 1}}])
def test_contexts_without_a_list_of_results(context: object) -> None:
    assert read_drawings(context, CONFIG) == []


def test_the_newest_label_is_the_regions() -> None:
    shapes = [click(1, 1, label="Car"), click(2, 2, label="Person")]
    assert read_drawings({"result": shapes}, CONFIG)[0][1].label == "Person"
    assert read_drawings({"result": [click(1, 1, label=None)]}, CONFIG)[0][1].label is None


def test_a_bare_tags_label_comes_from_the_result_beside_it() -> None:
    shape = box(10, 10, 20, 20, label=None) | {"type": "rectangle"}
    name = {"type": "labels", "from_name": "names", "value": {"labels": ["Car"]}}
    older = box(60, 60, 20, 20, label=None) | {"type": "rectangle"}
    other = name | {"value": {"labels": ["Person"]}, "id": older["id"]}
    for results in ([older, other, shape, shape | name], [shape | name, other, older, shape]):
        [(_, drawing)] = read_drawings({"result": results}, CONFIG)
        assert drawing.label == "Car"
        assert len(drawing.shapes) == 2


@pytest.mark.parametrize("value", [None, {}, {"labels": "Car"}, {"labels": [3]}])
def test_a_result_beside_that_has_no_label_is_passed_over(value: object) -> None:
    shape = box(10, 10, 20, 20, label=None) | {"type": "rectangle"}
    beside = shape | {"type": "labels", "value": value}
    assert read_drawings({"result": [shape, beside]}, CONFIG)[0][1].label is None


def test_a_click_that_two_tags_label_is_one_click() -> None:
    clicked = click(50, 50, label="Car")
    coloured = clicked | {"from_name": "colours"}
    coloured["value"] = clicked["value"] | {"keypointlabels": ["Red"]}
    [(_, drawing)] = read_drawings({"result": [clicked, coloured]}, CONFIG)
    assert count_shapes(drawing.shapes) == "1 click"
    assert drawing.label == "Car"
    assert drawing.prompts(SIZE_WH).is_ambiguous


def test_tags_marked_model_skip_are_left_alone() -> None:
    points = '<KeyPointLabels name="points" toName="image" smart="true" model_skip="true"/>'
    config = read_label_config(view(IMAGE, BRUSH, points))
    assert read_drawings({"result": [click(50, 50)]}, config) == []


def test_each_image_has_its_own_shapes() -> None:
    config = read_label_config(
        view(
            '<Image name="a" value="$a"/><Image name="b" value="$b"/>',
            '<BrushLabels name="masks" toName="a,b"><Label value="Car"/></BrushLabels>',
        )
    )
    shapes = [click(1, 1) | {"to_name": "b"}, click(2, 2) | {"to_name": "a"}]
    drawn = {target.name: one.shapes for target, one in read_drawings({"result": shapes}, config)}
    assert {name: len(shapes) for name, shapes in drawn.items()} == {"a": 1, "b": 1}


def test_shapes_are_counted_in_words() -> None:
    [(_, drawing)] = read_drawings(
        {"result": [click(1, 1), click(2, 2), box(1, 1, 9, 9), stroke([1])]}, CONFIG
    )
    assert count_shapes(drawing.shapes) == "2 clicks and 1 box and 1 stroke"
