"""Look closer, the whole way on the trained demo models: what is asked, where, and what is kept."""

import io
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from grounded_labeler.core.boxes import box_iou, from_percent, to_percent
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.demo.shapes import tight_box
from grounded_labeler.demo.small_things import SmallThing, draw_small_things
from grounded_labeler.inference.backend import Priority
from grounded_labeler.label_studio.rendering import box_of, mask_of
from tests.conftest import MakeClient, client_of
from tests.helpers.asking import (
    BRUSH,
    HAND_DRAWN,
    IMAGE,
    LABELS,
    PROMPT,
    RECTANGLES,
    STATUS,
    body,
    number,
    of_type,
    predict,
    status_of,
    typed,
    view,
)
from tests.helpers.drawing import click, search
from tests.helpers.label_studio import LabelStudio
from tests.helpers.truth import Truth, true_masks

SEARCH = '<Rectangle name="search" toName="image" smart="true" smartOnly="true"/>'
CONFIG = view(PROMPT, STATUS, IMAGE, RECTANGLES, SEARCH)
SIZE_WH = (1600, 1200)
SMALL = "/data/upload/1/small.png"
WIDE = "/data/upload/1/wide.jpg"
EVERYWHERE = search(0, 0, 100, 100)


@pytest.fixture
def things(label_studio: LabelStudio) -> tuple[SmallThing, ...]:
    """The shapes of a large image, which are too small to be found in the whole of it."""
    pixels, things = draw_small_things(np.random.default_rng(5), SIZE_WH, 8, (24, 50))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    label_studio.upload("small.png", file.getvalue())
    return things


def around(thing: SmallThing) -> dict[str, Any]:
    """A rectangle of 300 by 240 pixels around a shape, as far as the image goes."""
    x, y = (thing.box[:2] + thing.box[2:]) / 2
    corners = np.array([[x - 150, y - 120, x + 150, y + 120]], np.float32)
    left, top, width, height = to_percent(corners, SIZE_WH)[0]
    return search(float(left), float(top), float(width), float(height))


def look(
    client: FlaskClient,
    *drawn: dict[str, Any],
    image: str = WIDE,
    config: str = CONFIG,
    **task: Any,
) -> list[dict[str, Any]]:
    """The results of rectangles drawn on an image."""
    request = body([image], {"result": list(drawn)}, config)
    request["tasks"][0] |= task
    [prediction] = predict(client, request)
    results: list[dict[str, Any]] = prediction["result"]
    return results


def ask(client: FlaskClient, prompt: str, *others: dict[str, Any], **task: Any) -> None:
    """Type a prompt next to the task."""
    request = body([WIDE], typed(prompt, *others), CONFIG)
    request["tasks"][0] |= task
    predict(client, request)


def draft(
    text: str | None, *others: dict[str, Any], at: str = "2026-11-26T14:18:54.717605Z"
) -> dict[str, Any]:
    entries = [] if text is None else typed(text)["result"]
    return {"id": 1, "result": [*others, *entries], "updated_at": at}


def labels_in(results: list[dict[str, Any]]) -> list[str]:
    regions = of_type(results, "rectanglelabels")
    return sorted(region["value"]["rectanglelabels"][0] for region in regions)


def test_small_things_are_found_inside_and_nothing_is_outside(
    client: FlaskClient, things: tuple[SmallThing, ...]
) -> None:
    """The config has labels and no prompt was typed: the labels are asked."""
    assert labels_in(look(client, EVERYWHERE, image=SMALL)) == []
    for thing in things[:3]:
        drawn = around(thing)
        results = look(client, drawn, image=SMALL)
        value = drawn["value"]
        percent = [[value[name] for name in ("x", "y", "width", "height")]]
        [area] = from_percent(np.array(percent), SIZE_WH)
        regions = of_type(results, "rectanglelabels")
        boxes = np.array([box_of(region) for region in regions])
        best = box_iou(thing.box[None], boxes.astype(np.float32)).argmax()
        assert box_iou(thing.box[None], boxes.astype(np.float32)).max() >= 0.5
        assert regions[best]["value"]["rectanglelabels"] == [thing.kind.title()]
        assert (boxes[:, :2] >= area[:2] - 1).all()
        assert (boxes[:, 2:] <= area[2:] + 1).all()
        assert regions[0]["original_width"] == SIZE_WH[0]
        assert status_of(results).startswith(f"Inside the rectangle: Found {thing.kind.title()}: 1")
        assert not any(result["from_name"] == "search" for result in results)


def test_masks_are_of_the_whole_image(client: FlaskClient, truth: Truth) -> None:
    config = view(PROMPT, STATUS, IMAGE, BRUSH, SEARCH)
    circle = true_masks(truth)["red circle"]
    x0, y0, x1, y1 = tight_box(circle).tolist()
    corners = np.array([[x0 - 40, y0 - 40, x1 + 40, y1 + 40]], np.float32)
    left, top, width, height = to_percent(corners, circle.shape[::-1])[0].tolist()
    ask(client, "red circle")
    [region] = of_type(look(client, search(left, top, width, height), config=config), "brushlabels")
    assert region["value"]["brushlabels"] == ["Circle"]
    assert mask_iou(mask_of(region), circle) >= 0.85


def test_it_works_without_a_segmenter(make_client: MakeClient) -> None:
    results = look(make_client(SEGMENTER="none"), EVERYWHERE)
    assert "Circle" in labels_in(results)


def test_the_prompt_that_was_typed_for_the_task_is_asked(client: FlaskClient) -> None:
    """Also one that found nothing, which the project does not remember."""
    ask(client, "unicorn")
    status = status_of(look(client, EVERYWHERE))
    assert status.startswith('Inside the rectangle: Nothing found for "unicorn" (best ')
    assert status.endswith("Delete the rectangle if it is still there.")
    ask(client, "red circle")
    assert labels_in(look(client, EVERYWHERE)) == ["Circle"]
    # Of another task nothing is known, and the project remembers the prompt.
    status = status_of(look(client, EVERYWHERE, id=2))
    assert status.startswith(
        'Asked with the remembered prompt "red circle". Inside the rectangle: Found Circle: 1.'
    )


def test_tasks_without_an_id_are_not_taken_for_one(client: FlaskClient) -> None:
    ask(client, "unicorn", id=None)
    assert "Circle" in labels_in(look(client, EVERYWHERE, id=None))


def test_a_prompt_in_the_context_wins(client: FlaskClient) -> None:
    ask(client, "red circle")
    both = look(client, *typed("blue triangle", EVERYWHERE)["result"])
    # Label Studio sends one or the other; what came last is what was done last.
    assert labels_in(both) == ["Triangle"]
    assert status_of(both).startswith("Inside the rectangle: ")


def test_a_draft_that_was_saved_since_wins_over_what_was_typed(client: FlaskClient) -> None:
    old = draft("blue triangle")
    assert labels_in(look(client, EVERYWHERE, drafts=[old])) == ["Triangle"]
    # The draft is as it was when the prompt was typed: the prompt is newer.
    ask(client, "red circle", drafts=[old])
    assert labels_in(look(client, EVERYWHERE, drafts=[old])) == ["Circle"]
    new = draft("orange star", at="2026-11-26T14:19:54.717605Z")
    assert labels_in(look(client, EVERYWHERE, drafts=[old, new])) == ["Star"]
    saved_without = draft(None, at="2026-11-26T14:20:54.717605Z")
    assert labels_in(look(client, EVERYWHERE, drafts=[saved_without])) == ["Circle"]


def test_a_saved_annotation_has_the_prompt_where_there_is_no_draft(client: FlaskClient) -> None:
    annotations = [draft("blue triangle")]
    assert labels_in(look(client, EVERYWHERE, annotations=annotations)) == ["Triangle"]
    drafts = [draft("red circle", at="2026-11-25T14:18:54.717605Z")]
    assert labels_in(look(client, EVERYWHERE, annotations=annotations, drafts=drafts)) == ["Circle"]
    every: tuple[object, ...] = (None, "x", [3], [{}], [{"result": 3}], [{"updated_at": None}])
    for broken in every:
        assert status_of(look(client, EVERYWHERE, id=9, drafts=broken, annotations=broken))


def test_thresholds_that_were_set_beside_the_prompt_hold(client: FlaskClient) -> None:
    strict = number("box_threshold", 1.0)
    loose = number("box_threshold", 0.1)
    assert "box threshold is 1" in status_of(
        look(client, EVERYWHERE, drafts=[draft("red circle", strict)])
    )
    assert labels_in(look(client, EVERYWHERE, drafts=[draft(None, strict)])) == []
    ask(client, "red circle", strict, id=2)
    assert "box threshold is 1" in status_of(look(client, EVERYWHERE, id=2))
    ask(client, "red circle", loose, id=2)
    assert labels_in(look(client, EVERYWHERE, id=2)) == ["Circle"]


def test_without_a_prompt_field_the_labels_are_asked(client: FlaskClient) -> None:
    ask(client, "red circle")
    config = view(STATUS, IMAGE, RECTANGLES, SEARCH)
    found = look(client, EVERYWHERE, config=config)
    assert {"Circle", "Star"} <= set(labels_in(found))
    nothing = view(STATUS, IMAGE, '<RectangleLabels name="label" toName="image"/>', SEARCH)
    [line] = look(client, EVERYWHERE, config=nothing)
    assert "nothing to look for inside the rectangle: type a prompt" in line["value"]["text"][0]


def test_labels_in_the_task_are_asked(client: FlaskClient) -> None:
    tag = '<RectangleLabels name="label" toName="image" value="$kinds"/>'
    config = view(STATUS, IMAGE, tag, SEARCH)
    data = {"image": WIDE, "kinds": [{"value": "Circle"}]}
    request = body([WIDE], {"result": [EVERYWHERE]}, config)
    request["tasks"][0]["data"] = data
    response = client.post("/predict", json=request)
    [prediction] = response.get_json()["results"]
    assert labels_in(prediction["result"]) == ["Circle"]
    assert status_of(prediction["result"]).startswith("Inside the rectangle: Found Circle: 1.")


@pytest.mark.parametrize(
    ("drawn", "sentence"),
    [
        (search(10, 10, 0.5, 50), "less than 8 pixels"),
        (search(110, 10, 20, 20), "outside the image"),
        (search("x", 10, 20, 20), "no position"),
    ],
)
def test_what_cannot_be_looked_at_is_said_in_the_status_field_alone(
    client: FlaskClient, drawn: dict[str, Any], sentence: str
) -> None:
    [line] = look(client, drawn)
    assert sentence in line["value"]["text"][0]
    assert look(client, drawn, config=view(IMAGE, RECTANGLES, SEARCH)) == []


def test_a_skipped_tag_is_left_alone(client: FlaskClient) -> None:
    skipped = SEARCH.replace("smart=", 'model_skip="true" smart=', 1)
    config = view(PROMPT, STATUS, IMAGE, RECTANGLES, skipped)
    assert look(client, EVERYWHERE, config=config) == []


def test_clicks_work_beside_it(client: FlaskClient) -> None:
    points = f'<KeyPointLabels name="points" toName="image" smart="true">{LABELS}</KeyPointLabels>'
    config = view(PROMPT, STATUS, IMAGE, BRUSH, points, SEARCH)
    clicked = look(client, EVERYWHERE, click(18, 58), config=config)
    assert status_of(clicked).startswith("Segmented 1 object from 1 click.")
    looked = look(client, click(18, 58), EVERYWHERE, config=config)
    assert status_of(looked).startswith("Inside the rectangle: ")


def test_it_runs_once_before_all_background_work_and_nothing_is_remembered(
    make_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(TILES="200")
    run, asked = service.backend.run, list[tuple[int, Priority, Any]]()

    def note(requests: Any, cancelled: Any, timeout_s: float, priority: Priority) -> Any:
        asked.append((len(requests), priority, requests[0].inside))
        return run(requests, cancelled, timeout_s, priority)

    monkeypatch.setattr(service.backend, "run", note)
    found = look(client_of(service), search(0, 0, 50, 100), drafts=[draft("red circle")])
    assert labels_in(found) == ["Circle"]
    assert " tiles" not in status_of(found)
    assert asked == [(1, Priority.TYPED_PROMPT, (0, 0, 320, 480))]
    assert service.prompts.newest("1.1795170150/image") is None


def test_a_rectangle_that_was_left_in_an_annotation_is_no_region(make_service: Any) -> None:
    """Label Studio saves it when nothing was suggested and nobody deleted it."""
    service = make_service()
    client = client_of(service)
    project = {"id": 1, "created_at": "2026-11-20T10:22:30.172388Z", "label_config": CONFIG}

    def save(*results: dict[str, Any]) -> str | None:
        annotation = {"result": [*typed("red circle")["result"], *results]}
        event = {"action": "ANNOTATION_CREATED", "annotation": annotation, "project": project}
        assert client.post("/webhook", json=event).status_code == 200
        newest: str | None = service.prompts.newest("1.1795170150/image")
        return newest

    assert save(EVERYWHERE) is None
    assert save(EVERYWHERE, HAND_DRAWN) == "red circle"
