"""The routes: what Label Studio needs back, and one plain sentence for wrong input."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from grounded_labeler.errors import WeightsError
from grounded_labeler.images.label_studio_auth import Origin
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.prompts.history import PromptHistory
from grounded_labeler.service import Service
from grounded_labeler.settings import Settings
from tests.conftest import MakeClient, client_of
from tests.helpers.asking import (
    CREATED,
    HAND_DRAWN,
    IMAGE,
    PROMPT,
    RECTANGLES,
    TUTORIAL,
    ask,
    body,
    status_of,
    typed,
    view,
)
from tests.helpers.backends import loading
from tests.helpers.held import Held


@pytest.mark.parametrize("path", ["/", "/health"])
def test_health_says_what_runs_where(client: FlaskClient, path: str) -> None:
    health = client.get(path).get_json()
    assert health["status"] == "UP"
    assert health["model_class"] == "GroundedLabeler"
    assert (health["models"], health["model"], health["device"]) == ("ready", "demo+demo", "cpu")
    assert (health["runtime"], health["precision"]) == ("PyTorch", "fp32")
    assert health["threads"] >= 1


def test_setup_and_health_answer_while_the_models_load(
    make_service: Callable[..., Service],
) -> None:
    service = replace(make_service(), backend=loading(Future()))
    client = client_of(service)
    assert client.get("/health").get_json()["models"] == "loading"
    setup = client.post("/setup", json={"project": "1.2", "schema": TUTORIAL})
    assert setup.get_json()["model_version"].startswith("demo+demo-")


@pytest.mark.parametrize("failure", [RuntimeError("CUDA"), TimeoutError("disk")])
def test_models_that_failed_for_no_known_reason_are_told_of_too(
    make_service: Callable[..., Service], failure: Exception
) -> None:
    failed: Future[Pipeline] = Future()
    failed.set_exception(failure)
    service = replace(make_service(), backend=loading(failed))
    client = client_of(service)
    assert client.post("/predict", json=body(["/data/upload/1/wide.jpg"])).status_code == 503
    sentence = status_of(ask(client, "/data/upload/1/wide.jpg", "circle"))
    assert sentence == "The models could not be loaded: the log says why."


def test_models_that_could_not_be_loaded_are_a_503_with_the_reason(
    make_service: Callable[..., Service],
) -> None:
    failed: Future[Pipeline] = Future()
    failed.set_exception(WeightsError("model.pth is damaged: run `make weights`."))
    service = replace(make_service(), backend=loading(failed))
    client = client_of(service)
    for response in (
        client.get("/health"),
        client.get("/ready"),
        client.post("/predict", json=body(["/data/upload/1/wide.jpg"])),
    ):
        assert response.status_code == 503
        assert response.get_json()["error"] == "model.pth is damaged: run `make weights`."
    results = ask(client, "/data/upload/1/wide.jpg", "circle")  # the annotator is told
    assert status_of(results) == "model.pth is damaged: run `make weights`."


def test_versions_are_those_of_the_projects_seen(client: FlaskClient) -> None:
    assert client.get("/versions").get_json() == {"versions": ["demo+demo"]}
    setup = {"project": "1.1795170150", "schema": TUTORIAL}
    version = client.post("/setup", json=setup).get_json()["model_version"]
    assert client.post("/versions", json={}).get_json() == {"versions": [version]}


def test_a_refused_setup_is_not_remembered(make_service: Callable[..., Service]) -> None:
    service = replace(
        make_service(), settings=Settings.from_env({"DETECTOR": "demo", "SEGMENTER": "demo"})
    )
    client = client_of(service)
    setup = {"project": "7.1", "schema": "<View/>", "hostname": "http://ls", "access_token": "t"}
    assert client.post("/setup", json=setup).status_code == 400
    assert service.origin("7.1") is None
    assert client.post("/setup", json=setup | {"schema": TUTORIAL}).status_code == 200
    assert service.origin("7.1") == Origin("http://ls", "t", trusted=False)
    assert service.origin("7.2") is None  # project 7 of another Label Studio


def test_a_body_beyond_the_cap_is_refused(
    client: FlaskClient,
) -> None:
    client.application.config["MAX_CONTENT_LENGTH"] //= 64 * 1024
    response = client.post("/predict", json=GOOD | {"padding": "x" * 2000})
    assert response.status_code == 413
    assert response.get_json()["error"]


@pytest.mark.parametrize(
    "event",
    [
        {"action": "START_TRAINING", "project": {"id": 1, "label_config": TUTORIAL}},
        {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}], "project": {"id": 1}},
        {"action": "ANNOTATION_CREATED", "annotation": {"result": None}, "project": {"id": 1}},
        {"action": "ANNOTATION_CREATED", "annotation": {}, "project": None},
        {},
    ],
)
def test_webhooks_without_a_prompt_are_taken_quietly(
    make_client: MakeClient, event: dict[str, Any]
) -> None:
    client = make_client(START_TRAINING="off")
    assert client.post("/webhook", json=event).status_code == 200


def test_no_answer_waits_for_the_store_of_prompts(
    make_service: Callable[..., Service], held: Held
) -> None:
    """Label Studio gives a webhook one second, whatever the store is busy with."""
    service = replace(make_service(SEGMENTER="none"), prompts=PromptHistory(held))
    client = client_of(service)
    event = {
        "action": "ANNOTATION_CREATED",
        "annotation": {"result": [*typed("green triangle")["result"], HAND_DRAWN]},
        "project": {"id": 1, "created_at": CREATED, "label_config": TUTORIAL},
    }
    assert client.post("/webhook", json=event).status_code == 200
    assert held.begun.wait(60)
    ask(client, "/data/upload/1/tall.jpg", "red square")
    assert held.kept == []
    assert service.prompts.newest("1.1795170150/image") == "red square"
    held.go_on.set()
    service.prompts.flush()
    assert held.kept == [
        ("1.1795170150/image", "green triangle"),
        ("1.1795170150/image", "red square"),
    ]


GOOD = body(["/data/upload/1/wide.jpg"], typed("circle"))
UNSEEN = GOOD | {"label_config": view(IMAGE, PROMPT, RECTANGLES)}  # no status field to say it in
CHOICES = '<Choices name="c" toName="image"><Choice value="a"/></Choices>'


@pytest.mark.parametrize(
    ("path", "request_body", "sentence"),
    [
        ("/predict", "{not json", "must be a JSON object"),
        ("/predict", "[" * 200_000, "nested too deeply"),
        ("/predict", GOOD | {"label_config": "<View>"}, "label config"),
        ("/predict", GOOD | {"label_config": view(IMAGE, PROMPT, CHOICES)}, "RectangleLabels"),
        ("/predict", GOOD | {"params": []}, None),  # an empty list is as good as nothing
        ("/predict", UNSEEN | {"tasks": [{"id": 1, "data": {"photo": "x"}}]}, '"$image"'),
        ("/setup", {"project": "1.2", "schema": view(IMAGE, CHOICES)}, "RectangleLabels"),
    ],
)
def test_wrong_input_is_a_400_with_one_plain_sentence(
    client: FlaskClient, path: str, request_body: object, sentence: str | None
) -> None:
    if isinstance(request_body, str):
        response = client.post(path, data=request_body, content_type="application/json")
    else:
        response = client.post(path, json=request_body)
    if sentence is None:
        assert response.status_code == 200
        return
    assert response.status_code == 400
    error = response.get_json()["error"]
    assert sentence in error
    assert "\n" not in error
    assert "Traceback" not in error


def test_a_mask_only_config_without_a_segmenter_says_what_to_do(make_client: MakeClient) -> None:
    config = view(
        PROMPT, IMAGE, '<BrushLabels name="b" toName="image"><Label value="Circle"/></BrushLabels>'
    )
    response = make_client(SEGMENTER="none").post(
        "/predict", json=body(["/data/upload/1/wide.jpg"], typed("circle"), config)
    )
    assert response.status_code == 400
    assert "SEGMENTER=mobile-sam" in response.get_json()["error"]


def test_unknown_routes_and_methods_answer_in_json(client: FlaskClient) -> None:
    assert client.get("/nowhere").status_code == 404
    assert "error" in client.get("/nowhere").get_json()
    assert client.get("/predict").status_code == 405


LOGIN = {"BASIC_AUTH_USER": "änna", "BASIC_AUTH_PASS": "pass:word"}  # a colon may be in one
AUTH = ("änna", "pass:word")
ROUTES = [("POST", "/setup"), ("POST", "/predict"), ("POST", "/webhook"), ("GET", "/versions")]


@pytest.mark.parametrize(
    "auth",
    [None, ("änna", "wrong"), ("anna", "pass:word"), ("", ""), ("änna", "")],
)
def test_with_basic_auth_strangers_are_refused(
    make_client: MakeClient, auth: tuple[str, str] | None
) -> None:
    client = make_client(**LOGIN)
    for method, path in ROUTES:
        if path == "/webhook" and auth is None:
            continue  # the next test
        refusal = client.open(path, method=method, auth=auth)
        assert refusal.status_code == 401
        assert refusal.headers["WWW-Authenticate"].startswith("Basic ")
        assert "password" in refusal.get_json()["error"]


def test_webhooks_without_a_login_are_answered_without_effect_and_told_of_once(
    make_service: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    """Label Studio sends none with them; it is not to see failures that it may count."""
    service = make_service(**LOGIN)
    client = client_of(service)
    event = {
        "action": "ANNOTATION_CREATED",
        "annotation": {"result": [*typed("red circle")["result"], HAND_DRAWN]},
        "project": {"id": 1, "created_at": CREATED, "label_config": TUTORIAL},
    }
    for _ in range(3):
        heard = client.post("/webhook", json=event)
        assert (heard.status_code, heard.get_json()) == (200, {})
    assert client.post("/webhook", data=b"{").status_code == 200
    setup = {"project": "1.1795170150", "schema": TUTORIAL}

    def version() -> str:
        return str(client.post("/setup", json=setup, auth=AUTH).get_json()["model_version"])

    before = version()
    [line] = [line for line in caplog.messages if "webhook" in line]
    assert "Authorization: Basic" in line
    assert client.post("/webhook", json=event, auth=("anna", "wrong")).status_code == 401
    assert client.get("/webhook").status_code == 401
    assert version() == before, "nothing was learned"
    assert client.post("/webhook", json=event, auth=AUTH).status_code == 200
    assert version() != before


def test_another_password_in_its_file_counts_at_once(
    make_client: MakeClient, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    client = make_client(BASIC_AUTH_USER="anna", BASIC_AUTH_PASS_FILE=str(file))

    def statuses() -> list[int]:
        return [
            client.get("/versions", auth=("anna", password)).status_code
            for password in ("first", "second")
        ]

    assert statuses() == [200, 401]
    file.write_text("second\n")
    assert statuses() == [401, 200]
    file.unlink()
    assert statuses() == [401, 200]


def test_an_error_is_the_reason_phrase_too(client: FlaskClient) -> None:
    """On its Model page Label Studio shows the reason phrase and never the body."""
    config = view(PROMPT, IMAGE, '<RectangleLabels name="b\u00f6x" toName="no\r\nX-A: 1"/>')
    refusal = client.post("/setup", json={"project": "1.2", "schema": config})
    code, _, reason = refusal.status.partition(" ")
    assert code == "400"
    assert reason.isascii()
    assert reason.isprintable()
    expected = refusal.get_json()["error"].encode("ascii", "replace").decode()
    assert reason == " ".join(expected.split())[:300]


def test_with_basic_auth_the_login_opens_every_route(make_client: MakeClient) -> None:
    client, auth = make_client(**LOGIN), ("änna", "pass:word")
    setup = client.post("/setup", json={"project": "1.2", "schema": TUTORIAL}, auth=auth)
    assert setup.status_code == 200
    predicted = client.post("/predict", json=body(["/data/upload/1/wide.jpg"]), auth=auth)
    assert predicted.status_code == 200
    assert client.post("/webhook", json={}, auth=auth).status_code == 200
    assert client.get("/versions", auth=auth).status_code == 200


def test_with_basic_auth_health_stays_open(make_client: MakeClient) -> None:
    client = make_client(**LOGIN)
    assert client.get("/health").status_code == client.get("/").status_code == 200
