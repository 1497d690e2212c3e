"""Label configs and requests of the shape Label Studio sends, for the tests of the whole."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from flask.testing import FlaskClient

LABELS = "".join(f'<Label value="{v}"/>' for v in ("Circle", "Square", "Triangle", "Star", "Ring"))
PROMPT = '<TextArea name="prompt" toName="image" editable="true" rows="2" maxSubmissions="1"/>'
STATUS = '<TextArea name="status" toName="image" smart="false" rows="1" maxSubmissions="1"/>'
IMAGE = '<Image name="image" value="$image"/>'
RECTANGLES = f'<RectangleLabels name="label" toName="image">{LABELS}</RectangleLabels>'
BRUSH = f'<BrushLabels name="label2" toName="image">{LABELS}</BrushLabels>'
POLYGONS = f'<PolygonLabels name="poly" toName="image">{LABELS}</PolygonLabels>'


def view(*tags: str) -> str:
    return f"<View>{''.join(tags)}</View>"


CREATED = "2026-11-20T10:22:30.172388Z"  # project 1.1795170150, as webhooks write it
HAND_DRAWN = {
    "from_name": "label",
    "to_name": "image",
    "type": "rectanglelabels",
    "original_width": 640,
    "original_height": 480,
    "value": {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["Circle"]},
}

TUTORIAL = view(PROMPT, STATUS, IMAGE, RECTANGLES, BRUSH)


def typed(text: str, *others: dict[str, Any], to_name: str = "image") -> dict[str, Any]:
    """The context of a typed prompt."""
    entry = {
        "value": {"text": [text]},
        "id": "y3O1S0tttR",
        "from_name": "prompt",
        "to_name": to_name,
        "type": "textarea",
        "origin": "manual",
    }
    return {"result": [*others, entry]}


def number(name: str, value: float) -> dict[str, Any]:
    """A Number the annotator has set."""
    return {
        "value": {"number": value},
        "id": "vBMbiWE5E5",
        "from_name": name,
        "to_name": "image",
        "type": "number",
        "origin": "manual",
    }


def body(
    images: Sequence[str], context: dict[str, Any] | None = None, config: str = TUTORIAL
) -> dict[str, Any]:
    tasks = [{"id": i + 1, "data": {"image": uri}} for i, uri in enumerate(images)]
    return {
        "tasks": tasks,
        "project": "1.1795170150",
        "label_config": config,
        "params": {"login": None, "password": None, "context": context},
    }


def predict(client: FlaskClient, request: dict[str, Any]) -> list[dict[str, Any]]:
    """The predictions of a request that must be answered, each accepted by Label Studio's SDK."""
    response = client.post("/predict", json=request)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.get_json()["results"]
    assert len(results) == len(request["tasks"])
    for prediction in results:
        if "result" in prediction:
            assert_valid(request["label_config"], prediction)
    return results


def assert_valid(config: str, prediction: dict[str, Any]) -> None:
    """Nothing but JSON is in it, ids are unique, and the SDK's own validator accepts it."""
    json.dumps(prediction, allow_nan=False)
    shapes = [r["id"] for r in prediction["result"] if r["type"] not in ("textarea", "labels")]
    assert len(set(shapes)) == len(shapes)
    assert interface(config).validate_prediction(prediction, return_errors=True) == []


@lru_cache
def interface(config: str) -> Any:
    from label_studio_sdk.label_interface.interface import LabelInterface  # takes a second

    return LabelInterface(config)  # untyped


def ask(
    client: FlaskClient, image: str, prompt: str, *others: dict[str, Any], config: str = TUTORIAL
) -> list[dict[str, Any]]:
    """The results of one typed prompt next to one image."""
    [prediction] = predict(client, body([image], typed(prompt, *others), config))
    results: list[dict[str, Any]] = prediction["result"]
    return results


def status_of(results: Sequence[dict[str, Any]]) -> str:
    [line] = [r["value"]["text"][0] for r in results if r["from_name"] == "status"]
    return str(line)


def of_type(results: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [result for result in results if result["type"] == kind]
