"""Clicks and boxes to masks, the whole way, on the trained demo models."""

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import REGISTRY

from grounded_labeler.demo.clicking import correcting_click
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.inference.backend import Priority
from grounded_labeler.label_studio.rendering import box_of, mask_of
from tests.conftest import DATA, MakeClient, client_of
from tests.helpers.asking import (
    BRUSH,
    IMAGE,
    LABELS,
    POLYGONS,
    PROMPT,
    RECTANGLES,
    STATUS,
    body,
    of_type,
    predict,
    status_of,
    typed,
    view,
)
from tests.helpers.backends import local
from tests.helpers.drawing import box, click, ellipse, stroke
from tests.helpers.serving import wait_until
from tests.helpers.truth import Truth, true_masks

POINTS = f'<KeyPointLabels name="points" toName="image" smart="true">{LABELS}</KeyPointLabels>'
BOXES = f'<RectangleLabels name="boxes" toName="image" smart="true">{LABELS}</RectangleLabels>'
BITMASKS = f'<BitmaskLabels name="bitmasks" toName="image">{LABELS}</BitmaskLabels>'
SMART = view(PROMPT, STATUS, IMAGE, BRUSH, POINTS, BOXES)
WIDE = "/data/upload/1/wide.jpg"
CONTEXTS = sorted((DATA / "label-studio" / "contexts").glob("*.json"))


def draw(
    client: FlaskClient, *shapes: dict[str, Any], config: str = SMART, image: str = WIDE
) -> list[dict[str, Any]]:
    """The results of what was drawn on one image."""
    [prediction] = predict(client, body([image], {"result": list(shapes)}, config))
    results: list[dict[str, Any]] = prediction["result"]
    return results


def inside(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A click in the middle of an object."""
    x, y, _ = correcting_click(np.zeros_like(mask), mask)
    height, width = mask.shape
    return click(100 * (x + 0.5) / width, 100 * (y + 0.5) / height)


def around(mask: NDArray[np.bool_]) -> dict[str, Any]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    height, width = mask.shape
    x, y = 100 * columns[0] / width, 100 * rows[0] / height
    return box(x, y, 100 * len(columns) / width, 100 * len(rows) / height)


@pytest.mark.parametrize("image", ["wide.jpg", "tall.jpg", "rotated.jpg", "large.jpg"])
def test_one_click_gives_one_labelled_mask(client: FlaskClient, truth: Truth, image: str) -> None:
    """The rotated image is upright where it is clicked on."""
    mask = max(true_masks(truth, image).values(), key=np.count_nonzero)
    results = draw(client, inside(mask), image=f"/data/upload/1/{image}")
    [region] = of_type(results, "brushlabels")
    assert region["value"]["brushlabels"] == ["Circle"]
    assert 0 < region["score"] <= 1
    assert mask_iou(mask_of(region), mask) >= 0.85
    assert status_of(results).startswith("Segmented 1 object from 1 click. Took ")


def test_clicks_correct_a_mask(client: FlaskClient, truth: Truth) -> None:
    for mask in true_masks(truth).values():
        height, width = mask.shape
        clicks = [inside(mask)]
        for _ in range(4):
            [region] = of_type(draw(client, *clicks), "brushlabels")
            found = mask_of(region)
            if mask_iou(found, mask) >= 0.92:
                break
            x, y, positive = correcting_click(found, mask)
            clicks.append(
                click(100 * (x + 0.5) / width, 100 * (y + 0.5) / height, positive=positive)
            )
        assert mask_iou(found, mask) >= 0.9


def test_boxes_ellipses_and_strokes(client: FlaskClient, truth: Truth) -> None:
    masks = true_masks(truth)
    circle = masks["red circle"]
    drawn = around(circle)
    value = drawn["value"]
    half = {axis: value[side] / 2 for axis, side in (("x", "width"), ("y", "height"))}
    oval = ellipse(value["x"] + half["x"], value["y"] + half["y"], half["x"], half["y"])
    for shapes in ([drawn], [oval], [drawn, inside(circle)]):
        [region] = of_type(draw(client, *shapes), "brushlabels")
        assert mask_iou(mask_of(region), circle) >= 0.9, shapes
    several = [around(mask) for mask in masks.values()]
    assert len(of_type(draw(client, *several), "brushlabels")) == len(masks)


@pytest.mark.parametrize("path", CONTEXTS, ids=[path.stem for path in CONTEXTS])
def test_captured_contexts_get_one_region_of_their_label(
    path: Any, client: FlaskClient, truth: Truth
) -> None:
    context = json.loads(path.read_text())["params"]["context"]
    results = draw(client, *context["result"])
    regions = of_type(results, "brushlabels")
    boxes = [one for one in context["result"] if one["type"] == "rectanglelabels"]
    last = context["result"][-1]
    label = last["value"][last["type"]]
    assert [region["value"]["brushlabels"] for region in regions] == [label] * max(1, len(boxes))
    assert "Segmented" in status_of(results)


def test_the_form_is_what_the_config_can_hold(make_client: MakeClient, truth: Truth) -> None:
    mask = true_masks(truth)["red circle"]
    client, clicked = make_client(), inside(mask)
    [polygon] = draw(client, clicked, config=view(IMAGE, POLYGONS, POINTS))
    assert polygon["type"] == "polygonlabels"
    [tight] = draw(client, clicked, config=view(IMAGE, RECTANGLES, POINTS))
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    corners = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    np.testing.assert_allclose(box_of(tight), corners, atol=12)
    [bitmask] = draw(client, clicked, config=view(IMAGE, BRUSH, BITMASKS, POINTS))
    assert bitmask["value"]["bitmasklabels"] == ["Circle"]
    assert mask_iou(mask_of(bitmask), mask) >= 0.9
    both = draw(make_client(OUTPUT="both"), clicked, config=view(IMAGE, BRUSH, RECTANGLES, POINTS))
    assert [region["type"] for region in both] == ["rectanglelabels", "brushlabels"]


def test_bare_bitmasks_have_their_label_beside_them(client: FlaskClient, truth: Truth) -> None:
    config = view(
        IMAGE,
        '<Bitmask name="bitmasks" toName="image"/>',
        f'<Labels name="names" toName="image">{LABELS}</Labels>',
        PROMPT,
    )
    [prediction] = predict(client, body([WIDE], typed("red circle"), config))
    shape, label = prediction["result"]
    assert (shape["type"], label["type"]) == ("bitmask", "labels")
    assert shape["id"] == label["id"]
    assert mask_iou(mask_of(shape), true_masks(truth)["red circle"]) >= 0.9


def test_a_click_without_a_label_gives_a_region_without_one(
    client: FlaskClient, truth: Truth
) -> None:
    clicked = inside(true_masks(truth)["red circle"])
    del clicked["value"]["keypointlabels"]
    results = draw(client, clicked)
    [region] = of_type(results, "brushlabels")
    assert region["value"]["brushlabels"] == []
    assert "meta" not in region
    assert "No label was selected" in status_of(results)


def test_a_label_that_no_tag_draws_is_named(client: FlaskClient, truth: Truth) -> None:
    clicked = inside(true_masks(truth)["red circle"])
    clicked["value"]["keypointlabels"] = ["Wheel"]
    results = draw(client, clicked)
    [region] = of_type(results, "brushlabels")
    assert region["meta"] == {"text": ["Wheel"]}
    assert 'This project cannot draw "Wheel"' in status_of(results)


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ([click(50, 50, positive=False)], "click on the object, too"),
        ([click(50, 150)], "outside the image"),
        ([box(10, 10, 0, 0)], "no area"),
        ([click(50, 50) for _ in range(500)], "too many"),
        ([click("x", 50)], "no position"),
        ([stroke([1, 2, 3, 4, 5])], "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_said_in_the_status_field_alone(
    client: FlaskClient, shapes: Sequence[dict[str, Any]], sentence: str
) -> None:
    [line] = draw(client, *shapes)
    assert line["from_name"] == "status"
    assert sentence in line["value"]["text"][0]
    assert draw(client, *shapes, config=view(IMAGE, BRUSH, POINTS)) == []


def test_without_a_segmenter_the_status_field_says_how_to_have_one(
    make_client: MakeClient,
) -> None:
    config = view(STATUS, IMAGE, RECTANGLES, POINTS)
    [line] = draw(make_client(SEGMENTER="none"), click(50, 50), config=config)
    assert "SEGMENTER=mobile-sam" in line["value"]["text"][0]


def test_a_typed_prompt_wins_over_shapes_that_come_with_it(client: FlaskClient) -> None:
    [prediction] = predict(client, body([WIDE], typed("red circle", click(50, 50)), SMART))
    assert status_of(prediction["result"]).startswith("Found Circle: 1.")


@pytest.mark.parametrize(
    ("shapes", "priority"),
    [
        ([click(18, 58)], Priority.CLICK),
        ([click(18, 58), click(90, 10, positive=False)], Priority.FURTHER_CLICK),
    ],
)
def test_who_corrects_a_mask_goes_before_who_begins_one(
    make_service: Any, monkeypatch: pytest.MonkeyPatch,
    shapes: list[dict[str, Any]], priority: Priority,
) -> None:  # fmt: skip
    service = make_service()
    run, asked = service.backend.run, list[Priority]()

    def note(requests: Any, cancelled: Any, timeout_s: float, priority: Priority) -> Any:
        asked.append(priority)
        return run(requests, cancelled, timeout_s, priority)

    monkeypatch.setattr(service.backend, "run", note)
    draw(client_of(service), *shapes)
    assert asked == [priority]


# Label Studio's interactive layer


def layer(client: FlaskClient, **context: Any) -> dict[str, Any]:
    [prediction] = predict_bare(client, body([WIDE], context, SMART))
    return prediction


def predict_bare(client: FlaskClient, request: dict[str, Any]) -> list[dict[str, Any]]:
    response = client.post("/predict", json=request)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.get_json()["results"]
    return results


def test_capabilities_are_those_of_a_service_with_a_segmenter(make_client: MakeClient) -> None:
    [result] = layer(make_client(), event="capabilities")["result"]
    assert result["type"] == "capabilities"
    assert result["value"]["prompts"] == ["point", "box"]
    targets = {target["tag"]: target["output"] for target in result["value"]["targets"]}
    assert targets == {
        "BitmaskLabels": "mask", "RectangleLabels": "bbox",
        "PolygonLabels": "polygon", "VectorLabels": "polygon",
    }  # fmt: skip
    assert layer(make_client(SEGMENTER="none"), event="capabilities")["result"] == []


@pytest.mark.parametrize("event", ["prewarm", "release", "track", "track_cancel", "", "new one"])
def test_other_events_get_an_empty_result(client: FlaskClient, event: str) -> None:
    assert layer(client, event=event)["result"] == []


def bare(kind: str, **value: Any) -> dict[str, Any]:
    return {"type": kind, "value": value}


def test_bare_clicks_get_one_image_white_on_black(client: FlaskClient, truth: Truth) -> None:
    mask = true_masks(truth)["red circle"]
    value = inside(mask)["value"]
    clicked = bare("keypointlabels", x=value["x"], y=value["y"], positive=True)
    off = bare("keypointlabels", x=1, y=1, positive=False)
    edges = around(mask)["value"]
    boxed = bare("rectanglelabels", **{k: edges[k] for k in ("x", "y", "width", "height")})
    for shapes in ([clicked], [clicked, off], [boxed]):
        [result] = layer(client, result=shapes)["result"]
        assert (result["value"]["width"], result["value"]["height"]) == mask.shape[::-1]
        url = result["value"]["imageDataURL"]
        png = io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))
        red = np.asarray(Image.open(png).convert("RGB"))[..., 0]
        assert mask_iou(red > 127, mask) >= 0.9


def test_the_layer_is_told_of_errors_by_http(client: FlaskClient) -> None:
    off = bare("keypointlabels", x=1, y=1, positive=False)
    response = client.post("/predict", json=body([WIDE], {"result": [off]}, SMART))
    assert response.status_code == 400
    assert "click on the object" in response.get_json()["error"]
    on = bare("keypointlabels", x=1, y=1, positive=True)
    response = client.post(
        "/predict", json=body(["/data/upload/1/gone.jpg"], {"result": [on]}, SMART)
    )
    assert response.status_code == 400
    assert "404" in response.get_json()["error"]


@pytest.mark.parametrize(("image", "outcome"), [(WIDE, "answered"), ("/gone.jpg", "failed")])
def test_what_the_layer_asks_is_counted(
    client: FlaskClient, truth: Truth, image: str, outcome: str
) -> None:
    def counted() -> float:
        name = "grounded_labeler_tasks_total"
        return REGISTRY.get_sample_value(name, {"outcome": outcome}) or 0

    before, value = counted(), inside(true_masks(truth)["red circle"])["value"]
    clicked = bare("keypointlabels", x=value["x"], y=value["y"], positive=True)
    client.post("/predict", json=body([image], {"result": [clicked]}, SMART))
    assert counted() == before + 1


def test_opening_a_task_with_smart_tools_encodes_its_image_ahead(
    make_service: Any, truth: Truth
) -> None:
    service = make_service(PREANNOTATE="off")
    encoded: list[str] = []
    note = lambda image, cancelled: encoded.append(image.key)  # noqa: E731
    local(service).encode = note  # type: ignore[method-assign]
    client = client_of(service)
    predict(client, body([WIDE], config=view(PROMPT, IMAGE, BRUSH)))
    predict(client, body([WIDE, WIDE], config=SMART))
    assert encoded == []
    predict(client, body([WIDE], config=SMART))
    wait_until(lambda: len(encoded) == 1)
    layer(client, event="prewarm")
    wait_until(lambda: len(encoded) == 2)


def test_nothing_is_encoded_ahead_that_would_not_be_kept(make_service: Any) -> None:
    service = make_service(PREANNOTATE="off", CACHE_BYTES="0")
    begun: list[str] = []
    service.encode_ahead.begin = lambda project, load, backend: begun.append(project)
    client = client_of(service)
    predict(client, body([WIDE], config=SMART))
    layer(client, event="prewarm")
    assert begun == []
