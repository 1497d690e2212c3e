"""From settings, tasks and prompts to what is fetched, asked, drawn and learned."""

import base64
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from grounded_labeler.core.inference import InferenceRequest
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import Candidates, DecodedImage, Label, Thresholds
from grounded_labeler.images.decode import decode
from grounded_labeler.label_studio.rendering import label_of
from grounded_labeler.models.pipeline import Pipeline
from tests.conftest import SAMPLES, MakeClient
from tests.helpers.asking import (
    CREATED,
    HAND_DRAWN,
    IMAGE,
    PROMPT,
    RECTANGLES,
    STATUS,
    ask,
    body,
    of_type,
    predict,
    status_of,
    typed,
    view,
)
from tests.helpers.label_studio import LabelStudio

WIDE, TALL = "/data/upload/1/wide.jpg", "/data/upload/1/tall.jpg"


# Images


@pytest.mark.parametrize(
    ("limit", "said"),
    [(640 * 480, "Found Circle: 1"), (640 * 480 - 1, "The image has more than 307,199 pixels")],
)
def test_images_have_as_many_pixels_as_the_settings_allow(
    make_client: MakeClient, limit: int, said: str
) -> None:
    client = make_client(MAX_IMAGE_PIXELS=str(limit))
    assert status_of(ask(client, WIDE, "red circle")).startswith(said)


@pytest.mark.parametrize(("stretch", "is_said"), [("false", True), ("true", False)])
def test_an_image_of_12_bits_in_16_is_said_to_be_nearly_black_or_stretched(
    make_client: MakeClient, label_studio: LabelStudio, stretch: str, *, is_said: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    deep = decode((SAMPLES / "wide.jpg").read_bytes())[..., ::-1].astype(np.uint16) * 16
    path = label_studio.upload(
        "deep.png", cv2.imencode(".png", deep.astype(np.uint16))[1].tobytes()
    )
    sentence = "This image is nearly black: 12-bit data in a 16-bit file? STRETCH=true or --stretch"
    said = status_of(ask(make_client(STRETCH=stretch), path, "red circle"))
    assert (sentence in said) is is_said
    assert ("Found Circle: 1." in said) is not is_said
    assert any(sentence in line for line in caplog.messages) is is_said


def test_an_image_in_a_cloud_is_asked_for_by_its_task(
    make_client: MakeClient, label_studio: LabelStudio
) -> None:
    coded = base64.urlsafe_b64encode(b"s3://images/wide.jpg").decode()
    path = f"/tasks/7/resolve/?fileuri={coded}"
    label_studio.files[path] = (SAMPLES / "wide.jpg").read_bytes()
    request = body(["s3://images/wide.jpg"], typed("red circle"))
    request["tasks"][0]["id"] = 7
    [prediction] = predict(make_client(), request)
    assert status_of(prediction["result"]).startswith("Found Circle")
    assert label_studio.requests == [path]


@pytest.mark.parametrize("context", [None, typed("red circle")])
def test_a_task_without_the_image_fails_alone(
    make_client: MakeClient, context: dict[str, Any] | None
) -> None:
    request = body([WIDE] * 3, context)
    request["tasks"][1]["data"] = {"photo": WIDE}
    answers = predict(make_client(SEGMENTER="none"), request)
    drawn = [bool(of_type(answer.get("result", []), "rectanglelabels")) for answer in answers]
    assert drawn == [True, False, True]
    said = answers[1]["error"] if context is None else status_of(answers[1]["result"])
    assert said == 'Task 2 has no image under the key "image".'


TWO_IMAGES = view(
    *(
        f'<Image name="{name}" value="{value}"/>'
        f'<RectangleLabels name="boxes_{name}" toName="{name}"><Label value="Circle"/>'
        "</RectangleLabels>"
        for name, value in (("front", "$images[0]"), ("back", "$sides.back"))
    )
)


def of_images(answer: dict[str, Any]) -> set[str]:
    return {region["to_name"] for region in of_type(answer["result"], "rectanglelabels")}


@pytest.mark.parametrize(
    ("data", "images"),
    [
        ({"images": [WIDE], "sides": {"back": WIDE}}, {"front", "back"}),
        ({"images": [WIDE]}, {"front"}),
        ({"images": [], "sides": {"back": WIDE}}, {"back"}),
        ({"images": [WIDE], "sides": {"back": ""}}, {"front"}),
        ({"images": [None], "sides": {"back": WIDE}}, {"back"}),
    ],
)
def test_a_task_that_lacks_one_of_two_images_gets_the_regions_of_the_other(
    make_client: MakeClient, data: dict[str, Any], images: set[str]
) -> None:
    request = body([WIDE], None, TWO_IMAGES)
    request["tasks"][0]["data"] = data
    [prediction] = predict(make_client(SEGMENTER="none"), request)
    assert of_images(prediction) == images


def test_a_task_is_left_for_later_when_one_of_two_images_cannot_be_had(
    make_client: MakeClient,
) -> None:
    request = body([WIDE] * 2, None, TWO_IMAGES)
    request["tasks"][0]["data"] = {
        "images": [WIDE],
        "sides": {"back": "data:image/png;base64,YQ=="},
    }
    request["tasks"][1]["data"] = {"images": [], "sides": {}}
    broken, empty = predict(make_client(SEGMENTER="none"), request)
    assert "result" not in broken
    assert "known format" in broken["error"]
    assert "result" not in empty
    assert empty["error"] == 'Task 2 has no image under the key "images[0]".'


# Scores and thresholds


def only(tag: str, label: str) -> str:
    return f'<{tag} name="{tag}" toName="image"><Label value="{label}"/></{tag}>'


@pytest.mark.parametrize(
    ("tags", "kinds", "regions"),
    [
        ((RECTANGLES,), {"rectanglelabels": 2}, (1, 1)),
        (
            (RECTANGLES, only("BrushLabels", "Circle")),
            {"rectanglelabels": 2, "brushlabels": 1},  # box and mask are a region each
            (2, 1),
        ),
        (
            (
                '<Rectangle name="bare" toName="image"/>',
                only("Labels", "Circle"),
                only("RectangleLabels", "Star"),
            ),
            {"rectangle": 1, "labels": 1, "rectanglelabels": 1},  # shape and label are one region
            (1, 1),
        ),
    ],
)
def test_the_score_is_the_mean_of_the_regions(
    make_client: MakeClient, tags: tuple[str, ...], kinds: dict[str, int], regions: tuple[int, int]
) -> None:
    config = view(PROMPT, STATUS, IMAGE, *tags)
    request = body([WIDE], typed("red circle . blue star"), config)
    [prediction] = predict(make_client(OUTPUT="both"), request)
    drawn = prediction["result"]
    assert {kind: len(of_type(drawn, kind)) for kind in kinds} == kinds
    score = {label_of(result): result["score"] for result in drawn if "score" in result}
    assert score["Circle"] != score["Star"]
    expected = np.average([score["Circle"], score["Star"]], weights=regions)
    assert prediction["score"] == pytest.approx(expected, abs=1e-3)


ALL, SOME, ONE, NONE = range(5, 6), range(2, 5), range(1, 2), range(1)  # boxes drawn


@pytest.mark.parametrize(
    ("environ", "attributes", "expected"),
    [
        ({}, "", ALL),
        ({"TEXT_THRESHOLD": "1"}, "", NONE),
        ({}, 'text_threshold="1"', NONE),
        ({"TEXT_THRESHOLD": "1"}, 'text_threshold="0.25"', ALL),
        # Boxes of neighbours in the image overlap by a few pixels.
        ({"NMS_THRESHOLD": "0"}, "", SOME),
        ({}, 'nms_threshold="0"', SOME),
        ({"NMS_THRESHOLD": "0"}, 'nms_threshold="0.7"', ALL),
        ({"MAX_REGIONS": "1"}, "", ONE),
        ({"MAX_REGIONS": "1"}, 'max_regions="300"', ALL),
    ],
)
def test_settings_and_attributes_decide_how_many_objects_are_drawn(
    make_client: MakeClient, environ: dict[str, str], attributes: str, expected: range
) -> None:
    config = view(PROMPT, IMAGE, RECTANGLES.replace(" toName", f" {attributes} toName"))
    results = ask(make_client(SEGMENTER="none", **environ), WIDE, "shape", config=config)
    assert len(of_type(results, "rectanglelabels")) in expected


# Prompts


def test_the_prompts_of_all_images_of_a_saved_annotation_are_learned(
    make_client: MakeClient,
) -> None:
    sides = "".join(
        f'<Image name="{side}" value="${side}"/>'
        f'<TextArea name="ask {side}" toName="{side}" model_prompt="true"/>'
        + RECTANGLES.replace('"label"', f'"{side} label"').replace('"image"', f'"{side}"')
        for side in ("left", "right")
    )
    config = view(sides)
    client = make_client(SEGMENTER="none", PREANNOTATE="last_prompt")
    entries = [
        entry | {"from_name": f"ask {entry['to_name']}"}
        for text, side in [("red circle", "left"), ("green triangle", "right")]
        for entry in typed(text, to_name=side)["result"]
    ]
    entries += [HAND_DRAWN | {"to_name": side} for side in ("left", "right")]
    project = {"id": 1, "created_at": CREATED, "label_config": config}
    event = {"annotation": {"result": entries}, "project": project}
    assert client.post("/webhook", json=event).status_code == 200
    request = body([""], None, config)
    request["tasks"][0]["data"] = {"left": WIDE, "right": TALL}
    [prediction] = predict(client, request)
    found = of_type(prediction["result"], "rectanglelabels")
    assert [(box["to_name"], label_of(box)) for box in found] == [
        ("left", "Circle"),
        ("right", "Triangle"),
    ]


# Models


class TwoBoxes:
    """Sees two boxes, one half of the other."""

    device = "cpu"
    batch_size = 1
    longest = 1333

    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        return np.zeros((len(images), 2), np.float32)

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        boxes = np.array([[0, 0, 30, 30], [0, 0, 30, 15]], np.float32)
        scores = np.array([[0.9], [0.8]], np.float32)
        return [Candidates(boxes, scores, scores, np.zeros(2, np.intp))] * len(images)

    def release(self) -> None:
        """It holds nothing."""


def job(nms: float) -> InferenceRequest:
    limits = Thresholds(box=0.3, text=0.25, nms=nms, max_regions=10)
    image = np.zeros((30, 30, 3), np.uint8)
    return InferenceRequest(
        DecodedImage.of(image), parse_prompt("a", []), (Label("A"),), limits, with_masks=False
    )


def test_each_job_says_which_boxes_are_one_object() -> None:
    found = Pipeline(TwoBoxes(), None).run([job(0.4), job(0.6)])
    assert [len(answer.detections) for answer in found] == [1, 2]
