"""Requests captured from Label Studio 1.23.2, replayed against the application."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import DATA, SAMPLES, MakeClient
from tests.helpers.asking import assert_valid
from tests.helpers.label_studio import LabelStudio

CAPTURES = sorted((DATA / "label-studio").glob("*.json"))


def read(path: Path) -> dict[str, Any]:
    captured: dict[str, Any] = json.loads(path.read_text())
    request = captured["body"]
    if captured["path"] == "/predict":
        # Long lists were cut when they were captured; a string says how long they were.
        request["tasks"] = [task for task in request["tasks"] if isinstance(task, dict)]
    return captured


@pytest.mark.parametrize("path", CAPTURES, ids=[path.stem for path in CAPTURES])
def test_every_captured_request_gets_the_answer_label_studio_needs(
    path: Path, make_client: MakeClient, label_studio: LabelStudio
) -> None:
    captured = read(path)
    request = captured["body"]
    for task in (request or {}).get("tasks", []):
        uri = task.get("data", {}).get("image", "")
        path_on_server = urlsplit(uri)._replace(scheme="", netloc="").geturl()
        if uri.startswith("http"):  # the host it was captured on
            task["data"]["image"] = label_studio.url + path_on_server
        label_studio.files[path_on_server] = (SAMPLES / "tall.jpg").read_bytes()
    # What a training answers is in tests/server/test_tuning.py, where it is waited for.
    client = make_client(START_TRAINING="off")
    response = client.open(captured["path"], method=captured["method"], json=request)
    assert response.status_code == 200, response.text
    answer = response.get_json()
    match captured["path"]:
        case "/health":
            assert answer["status"] == "UP"
        case "/setup":
            assert isinstance(answer["model_version"], str)
        case "/versions":
            assert all(isinstance(version, str) for version in answer["versions"])
        case "/predict":
            check_predictions(request, answer["results"])
        case "/webhook":
            assert answer.keys() <= {"message"}


def check_predictions(request: dict[str, Any], results: list[dict[str, Any]]) -> None:
    assert len(results) == len(request["tasks"])
    for prediction in results:
        assert isinstance(prediction["model_version"], str)
        assert isinstance(prediction["score"], float)
        assert_valid(request["label_config"], prediction)
    context = request["params"]["context"]
    entries = (context or {}).get("result", [])
    if context is not None and not any(entry["type"] == "textarea" for entry in entries):
        # After Submit new suggestions would be a nuisance; a drawn rectangle is one object. A part
        # that is looked closer at becomes no region, and the status field says what is there.
        shapes = [len(prediction["result"]) for prediction in results]
        if all(entry["from_name"] == "search" for entry in entries) and entries:
            [line] = [r for r in results[0]["result"] if r["from_name"] == "status"]
            assert line["value"]["text"][0].startswith("Inside the rectangle: ")
            assert all(result["from_name"] != "search" for result in results[0]["result"])
        else:
            assert shapes == [len(entries)]


def test_a_whole_project_in_one_request(make_client: MakeClient, label_studio: LabelStudio) -> None:
    captured = read(DATA / "label-studio" / "05_predict_batch_1200_tasks.json")
    template = captured["body"]["tasks"][0]
    names = ["wide.jpg", "tall.jpg", "rotated.jpg"] * 10
    captured["body"]["tasks"] = [
        template | {"id": i, "data": {"image": f"/data/upload/1/{name}"}}
        for i, name in enumerate(names)
    ]
    response = make_client().post("/predict", json=captured["body"])
    results = response.get_json()["results"]
    assert len(results) == len(names)
    assert all("result" in prediction for prediction in results)
