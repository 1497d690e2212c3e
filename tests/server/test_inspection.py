"""What the routes of the playground say: all candidates, masks of what is marked, sentences."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from grounded_labeler import metrics
from grounded_labeler.coco import coco_mask
from grounded_labeler.core.boxes import box_iou
from grounded_labeler.inference.backend import Priority
from grounded_labeler.service import Service
from tests.conftest import SAMPLES, MakeClient, client_of
from tests.helpers.label_studio import LabelStudio

pytestmark = pytest.mark.slow

WIDE = "data:image/jpeg;base64," + base64.b64encode((SAMPLES / "wide.jpg").read_bytes()).decode()
LABELS = '<Label value="Star" prompt="star" score_threshold="0.3"/><Label value="Circle"/>'
CONFIG = (
    '<View><TextArea name="prompt" toName="image"/><Image name="image" value="$image"/>'
    f'<RectangleLabels name="l" toName="image" model_score_threshold="0.44">{LABELS}'
    "</RectangleLabels></View>"
)


def post(client: FlaskClient, path: str, **body: Any) -> dict[str, Any]:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.get_json()
    answer: dict[str, Any] = response.get_json()
    return answer


def refusal(client: FlaskClient, path: str, **body: Any) -> tuple[int, str]:
    response = client.post(path, json=body)
    return response.status_code, response.get_json()["error"]


def runs() -> float:
    return sum(
        sample.value
        for family in metrics.RUNS.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )


def test_models_are_listed_with_their_thresholds(make_client: MakeClient) -> None:
    answer = make_client(BOX_THRESHOLD="0.41").get("/models").get_json()
    [detector] = answer["detectors"]
    assert detector["name"] == "demo"
    assert detector["box_threshold"] == 0.41
    assert answer["segmenters"] == ["demo", "none"]


def test_candidates_are_those_of_a_prediction_and_more(
    client: FlaskClient, truth: dict[str, Any]
) -> None:
    answer = post(client, "/detect", image=WIDE, prompt="star . circle", labels=["Star"])
    assert [answer["width"], answer["height"]] == truth["wide.jpg"]["displayed_size_wh"]
    assert [one["label"] for one in answer["phrases"]] == ["Star", None]
    limit = answer["thresholds"]["box"]
    peaks = [max(peak for _, peak, _ in one["scores"]) for one in answer["candidates"]]
    assert min(peaks) >= answer["lowest_score"]
    assert any(peak < limit for peak in peaks)
    best = np.array(
        [one["box"] for one, peak in zip(answer["candidates"], peaks, strict=True) if peak > limit],
        np.float32,
    )
    for shape in truth["wide.jpg"]["shapes"]:
        if shape["name"].endswith(("star", "circle")):
            assert box_iou(np.array([shape["box"]], np.float32), best).max() > 0.7


@pytest.mark.parametrize(
    ("tiles", "setting", "attribute", "count"),
    [
        (None, "off", "", None),
        ("200", "off", "", 12),
        (None, "200", "", 12),
        (None, "off", "200", 12),
        ("off", "200", "200", None),
    ],
)
def test_tiles_are_those_of_the_request_the_config_or_the_service(
    make_client: MakeClient, tiles: str | None, setting: str, attribute: str, count: int | None
) -> None:
    client = make_client(TILES=setting)
    config = CONFIG.replace(' name="l"', f' name="l" tiles="{attribute}"', 1)
    answer = post(client, "/detect", image=WIDE, label_config=config, tiles=tiles)
    assert answer["tiles"] == (None if count is None else {"done": count, "wanted": count})
    views = {str(one["view"]) for one in answer["candidates"]}
    assert len(views) <= (count or 0) + 1
    assert (len(views) > 1) == (count is not None)
    assert (views == {"None"}) == (count is None)
    assert any(one["is_cut"] for one in answer["candidates"]) == (count is not None)


def test_tiles_that_are_none_are_refused(client: FlaskClient) -> None:
    status, said = refusal(client, "/detect", image=WIDE, prompt="star", tiles="12")
    assert status == 400
    assert "must be off, auto or a number of pixels" in said


def test_a_label_config_brings_labels_and_thresholds(client: FlaskClient) -> None:
    answer = post(client, "/detect", image=WIDE, label_config=CONFIG)
    assert [(one["text"], one["score_threshold"]) for one in answer["phrases"]] == [
        ("star", 0.3),
        ("Circle", None),
    ]
    assert answer["thresholds"]["box"] == 0.44


def test_a_threshold_typed_in_the_prompt_goes_before_that_of_a_label(client: FlaskClient) -> None:
    typed = "star > 0.9 . circle . -ring > 0.5"
    answer = post(client, "/detect", image=WIDE, label_config=CONFIG, prompt=typed)
    assert [(one["text"], one["score_threshold"]) for one in answer["phrases"]] == [
        ("star", 0.9),
        ("circle", None),
        ("ring", 0.5),
    ]
    code, sentence = refusal(client, "/detect", image=WIDE, prompt="star > 9")
    assert code == 400
    assert sentence.startswith('In "star > 9"')


def test_another_threshold_needs_no_run_and_a_second_request_none(client: FlaskClient) -> None:
    post(client, "/detect", image=WIDE, prompt="star")
    before = runs()
    post(client, "/detect", image=WIDE, prompt="star", labels=["Star"])
    assert runs() == before


def test_an_image_is_fetched_as_those_of_tasks_are(
    client: FlaskClient, label_studio: LabelStudio
) -> None:
    assert post(client, "/detect", image="/data/upload/1/wide.jpg", prompt="star")["candidates"]


def test_boxes_and_clicks_get_masks(client: FlaskClient, truth: dict[str, Any]) -> None:
    shapes = truth["wide.jpg"]["shapes"]
    boxes = [shape["box"] for shape in shapes]
    answer = post(client, "/segment", image=WIDE, boxes=boxes)
    assert len(answer["masks"]) == len(boxes)
    for one, (x0, y0, x1, y1) in zip(answer["masks"], boxes, strict=True):
        rows, columns = np.nonzero(coco_mask(one["mask"]).full())
        found = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
        wanted = np.array([[x0, y0, x1, y1]], np.float32)
        assert box_iou(found.astype(np.float32), wanted)[0, 0] > 0.8
    x0, y0, x1, y1 = next(one["box"] for one in shapes if not one["name"].endswith("ring"))
    click = {"x": (x0 + x1) / 2, "y": (y0 + y1) / 2, "positive": True}
    [clicked] = post(client, "/segment", image=WIDE, clicks=[click])["masks"]
    assert coco_mask(clicked["mask"]).full()[int(click["y"]), int(click["x"])]


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/detect", {"prompt": "x"}, 400, "`image` must be"),
        ("/detect", {"image": 7, "prompt": "x"}, 400, "`image` must be"),
        ("/detect", {"image": WIDE}, 400, "nothing to look for"),
        ("/detect", {"image": WIDE, "prompt": " . "}, 400, "nothing to look for"),
        ("/detect", {"image": WIDE, "prompt": ["x"]}, 400, "`prompt` must be"),
        ("/detect", {"image": WIDE, "prompt": "x" * 40_001}, 400, "40,000"),
        ("/detect", {"image": WIDE, "prompt": "x", "labels": "Star"}, 400, "`labels` must be"),
        ("/detect", {"image": WIDE, "prompt": "x", "detector": "yolo"}, 400, "must be demo"),
        ("/detect", {"image": WIDE, "prompt": "x", "label_config": "<View>"}, 400, "valid XML"),
        ("/detect", {"image": "data:image/png;base64,aaaa", "prompt": "x"}, 422, "not an image"),
        ("/detect", {"image": "/etc/passwd", "prompt": "x"}, 422, "Label Studio"),
        ("/detect", {"image": "file:///etc/passwd", "prompt": "x"}, 422, "not opened here"),
        ("/detect", {"image": "http://169.254.169.254/x", "prompt": "x"}, 422, "ALLOWED_HOSTS"),
        ("/segment", {"image": WIDE}, 400, "either"),
        ("/segment", {"image": WIDE, "boxes": [], "clicks": []}, 400, "either"),
        ("/segment", {"image": WIDE, "boxes": [[1, 2, 3]]}, 400, "`boxes` must be"),
        ("/segment", {"image": WIDE, "boxes": [[9, 9, 2, 2]]}, 400, "no area"),
        ("/segment", {"image": WIDE, "boxes": [[1, 2, 3, "4"]]}, 400, "`boxes` must be"),
        ("/segment", {"image": WIDE, "boxes": [[0, 0, 9, 9]] * 301}, 400, "`boxes` must be"),
        ("/segment", {"image": WIDE, "clicks": []}, 400, "positive"),
        ("/segment", {"image": WIDE, "clicks": [{"x": 1}]}, 400, "`clicks` must be"),
        (
            "/segment",
            {"image": WIDE, "clicks": [{"x": 9999, "y": 1, "positive": True}]},
            400,
            "outside",
        ),
        (
            "/segment",
            {"image": WIDE, "segmenter": "none", "boxes": [[0, 0, 9, 9]]},
            400,
            "The service offers: demo",
        ),
    ],
)
def test_what_cannot_be_answered_gets_a_sentence(
    client: FlaskClient, path: str, body: dict[str, Any], status: int, sentence: str
) -> None:
    answered, said = refusal(client, path, **body)
    assert (answered, sentence in said) == (status, True), said


def test_requests_take_slots(make_service: Callable[..., Service]) -> None:
    service = make_service(THREADS="1")
    client = client_of(service)
    with service.slots.take(Priority.TYPED_PROMPT):
        for path, body in (("/detect", {"prompt": "x"}), ("/segment", {"boxes": [[0, 0, 9, 9]]})):
            status, said = refusal(client, path, image="data:,no image", **body)
            assert (status, said) == (503, "Too many requests are running: try again in a moment.")


def test_they_need_the_login(make_client: MakeClient) -> None:
    client = make_client(BASIC_AUTH_USER="me", BASIC_AUTH_PASS="secret")
    assert client.get("/models").status_code == 401
    assert client.post("/detect", json={}).status_code == 401
    assert client.post("/segment", json={}, auth=("me", "secret")).status_code == 400
