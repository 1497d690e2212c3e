"""Which predicted objects a review finds right, in whatever form they are drawn."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Detections
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.regions import encode_regions
from grounded_labeler.label_studio_api.annotations import (
    AnnotatedTask,
    Annotation,
    PredictedTask,
    PredictionSnapshot,
)
from grounded_labeler.quality.acceptance import marked
from grounded_labeler.quality.reviews import Reason, Review, has_shapes, objects_of, read_reviews
from tests.helpers.asking import BRUSH, IMAGE, RECTANGLES, view

MADE = datetime(2026, 1, 1, tzinfo=UTC)
SIZE_WH = (400, 300)
Regions = list[dict[str, Any]]
BOXES = [(10, 10, 60, 60), (100, 100, 180, 160), (200, 50, 260, 120)]  # xyxy, in pixels
LABELS = ("Circle", "Star", "Circle")
SCORES = (0.9, 0.8, 0.7)


def predicted_regions(config: str) -> Regions:
    """Two circles and a star, in all the forms that the config can hold."""
    [target] = read_label_config(config).images
    masks = []
    for x0, y0, x1, y1 in BOXES:
        pixels = np.zeros(SIZE_WH[::-1], np.bool_)
        pixels[y0:y1, x0:x1] = True
        masks.append(Mask.from_full(pixels))
    found = Detections(np.array(BOXES, np.float32), np.array(SCORES, np.float32), LABELS, LABELS)
    return encode_regions(found, masks, target, SIZE_WH, "both")


def tasks_of(
    predicted: Regions, reviewed: Regions, data: dict[str, Any] | None = None
) -> tuple[list[AnnotatedTask], list[PredictedTask]]:
    data = data or {"image": "/data/1.jpg"}
    prediction = PredictionSnapshot(5, predicted, 0.8, "demo-1", MADE, MADE)
    later = MADE + timedelta(minutes=1)
    annotation = Annotation(
        9, reviewed, later, later, 2, 2, parent_prediction=5, prediction=prediction
    )
    return (
        [AnnotatedTask(1, data, annotation)],
        [PredictedTask(1, data, prediction, annotations=1, skips=0, has_draft=False)],
    )


def review_of(config: str, predicted: Regions, reviewed: Regions, **data: Any) -> Review:
    tasks = tasks_of(predicted, reviewed, data)
    targets = read_label_config(config).images
    found = read_reviews(*tasks, targets, min_iou=0.5)
    [review] = found.counted
    return review


def reason_of(config: str, predicted: Regions, reviewed: Regions, **data: Any) -> Reason:
    tasks = tasks_of(predicted, reviewed, data)
    found = read_reviews(*tasks, read_label_config(config).images, min_iou=0.5)
    assert not found.counted
    [reason] = found.passed_over
    return reason


@pytest.mark.parametrize("config", [view(IMAGE, RECTANGLES), view(IMAGE, RECTANGLES, BRUSH)])
def test_a_box_and_a_mask_are_one_object(config: str) -> None:
    result = predicted_regions(config)
    review = review_of(config, result, copy.deepcopy(result))
    assert review.objects.labels == LABELS
    assert review.objects.scores.tolist() == pytest.approx(SCORES)
    assert review.right.tolist() == [True, True, True]
    [task] = tasks_of(result, [])[1]
    cheap = objects_of(task, read_label_config(config).images)
    assert cheap.labels == LABELS
    assert cheap.scores.tolist() == pytest.approx(SCORES)
    assert cheap.is_whole
    assert cheap.weakest == pytest.approx({"Circle": 0.7, "Star": 0.8})


def test_what_a_person_deletes_renames_or_moves_away_was_wrong() -> None:
    config = view(IMAGE, RECTANGLES)
    result = predicted_regions(config)
    assert review_of(config, result, result[1:]).right.tolist() == [False, True, True]
    assert review_of(config, result, []).right.tolist() == [False, False, False]
    renamed = copy.deepcopy(result)
    renamed[1]["value"]["rectanglelabels"] = ["Ring"]
    assert review_of(config, result, renamed).right.tolist() == [True, False, True]
    moved = copy.deepcopy(result)
    moved[2]["value"]["x"] += 10
    assert review_of(config, result, moved).right.tolist() == [True, True, False]
    touched = copy.deepcopy(result)
    touched[2]["value"]["x"] += 1
    assert review_of(config, result, touched).right.tolist() == [True, True, True]


def test_one_true_object_makes_one_of_two_predicted_ones_right() -> None:
    config = view(IMAGE, RECTANGLES)
    once = predicted_regions(config)
    twice = [*once, copy.deepcopy(once[2]) | {"id": "again", "score": 0.65}]
    assert review_of(config, twice, once).right.tolist() == [True, True, True, False]


def test_two_images_of_a_task_are_judged_each_by_its_own() -> None:
    def image(name: str) -> str:
        controls = RECTANGLES.replace('name="label"', f'name="of-{name}"')
        controls = controls.replace('toName="image"', f'toName="{name}"')
        return f'<Image name="{name}" value="${name}"/>{controls}'

    config = view(image("left"), image("right"))
    result = predicted_regions(view(IMAGE, RECTANGLES))
    left = [one | {"to_name": "left", "from_name": "of-left"} for one in result]
    right = [
        one | {"to_name": "right", "from_name": "of-right", "id": f"{one['id']}-2"}
        for one in result[:1]
    ]
    review = review_of(config, left + right, left)
    assert review.objects.labels == (*LABELS, "Circle")
    assert review.right.tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    "damage",
    [
        {"score": None},
        {"score": "high"},
        {"score": float("nan")},
        {"value": {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": []}},
        {"value": {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["Unicorn"]}},
        {"original_width": None},
        {"value": {"x": 1, "y": 1, "width": 0, "height": 9, "rectanglelabels": ["Circle"]}},
    ],
)
def test_what_cannot_be_promised_keeps_the_task_from_counting(damage: dict[str, Any]) -> None:
    config = view(IMAGE, RECTANGLES)
    result = predicted_regions(config)[:1]
    damaged = [result[0] | damage]
    assert reason_of(config, damaged, result) is Reason.NOT_WHOLE
    [task] = tasks_of(damaged, [])[1]
    targets = read_label_config(config).images
    assert not (objects_of(task, targets).is_whole and has_shapes(task, targets))


def test_a_region_without_a_shape_is_not_passed_over_beside_others() -> None:
    config = view(IMAGE, RECTANGLES)
    result = predicted_regions(config)
    flat = copy.deepcopy(result)
    flat[0]["value"]["height"] = 0
    assert reason_of(config, flat, result[1:]) is Reason.NOT_WHOLE


def test_a_mask_of_another_size_in_the_review_does_not_count() -> None:
    config = view(IMAGE, BRUSH)
    result = predicted_regions(config)
    other = [region | {"original_width": 300, "original_height": 400} for region in result]
    assert reason_of(config, result, other) is Reason.UNREADABLE


def test_the_labels_of_the_task_itself_count() -> None:
    config = view(IMAGE, '<RectangleLabels name="label" toName="image" value="$kinds"/>')
    result = predicted_regions(view(IMAGE, RECTANGLES))
    kinds = [{"value": "Circle"}, {"value": "Star"}]
    assert review_of(config, result, result, kinds=kinds).right.all()
    assert reason_of(config, result, result, kinds=kinds[:1]) is Reason.NOT_WHOLE


def test_regions_are_marked_and_texts_are_not() -> None:
    config = view(IMAGE, RECTANGLES)
    result = predicted_regions(config)
    result[0]["meta"] = {"text": ["red circle"], "other": 1}
    text = {"from_name": "status", "to_name": "image", "type": "textarea",
            "value": {"text": ["3 found"]}}  # fmt: skip
    before = copy.deepcopy([*result, text])
    first, second, _, last = marked([*result, text], read_label_config(config).images, "mark")
    assert first["meta"] == {"text": ["red circle", "mark"], "other": 1}
    assert second["meta"] == {"text": ["mark"]}
    assert second["origin"] == "prediction"
    assert last == text
    assert [*result, text] == before


def test_where_regions_came_from_changes_no_review() -> None:
    config = view(IMAGE, RECTANGLES, BRUSH)
    plain = predicted_regions(config)
    lines = ["circle", "\nLabel Circle: the phrase equals its value.", "\nModel version: demo-1\n"]
    explained = [{**region, "meta": {"text": lines}} for region in plain]
    right = review_of(config, plain, plain).right.tolist()
    assert review_of(config, explained, explained).right.tolist() == right
    assert review_of(config, explained, plain).right.tolist() == right
    [first, *_] = marked(explained, read_label_config(config).images, "mark")
    assert first["meta"]["text"] == [*lines, "mark"]
