"""The service keeps what openapi.json says of it, and the document says all there is."""

import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs  # comes with schemathesis
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from werkzeug.test import TestResponse

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.server.openapi import document_json
from grounded_labeler.service import Service
from tests.conftest import MakeClient, client_of
from tests.helpers.asking import IMAGE, LABELS, POLYGONS, PROMPT, TUTORIAL, body, typed, view
from tests.helpers.backends import loading
from tests.helpers.label_studio import LabelStudio
from tests.label_studio.test_replay import CAPTURES, read

pytestmark = pytest.mark.slow

DOCUMENT: dict[str, Any] = json.loads(document_json())
OPERATIONS = {
    (path, method.upper())
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
}

# The same requests in every run.
api = schemathesis.openapi.from_dict(DOCUMENT, config=schemathesis.Config(seed=1))
a_few = settings(
    max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
CONFORMS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
    checks.allow_header_conformance,
]


def assert_documented(response: TestResponse, path: str, method: str) -> None:
    parameters = {"project": 7} if "{project}" in path else {}
    case = api[path][method].Case(path_parameters=parameters)
    case.validate_response(response, checks=CONFORMS)


@api.parametrize()
@a_few
def test_every_answer_is_as_documented(
    case: schemathesis.Case[Any], make_service: Callable[..., Service]
) -> None:
    """To what fits the schemas, to what nearly does, and to methods there are not."""
    app = client_of(make_service()).application
    case.call_and_validate(app=app, checks=[checks.not_a_server_error, *CONFORMS])


def test_the_routes_are_those_of_the_document(make_client: MakeClient) -> None:
    rules = {
        (rule.rule.replace("<", "{").replace(">", "}"), method)
        for rule in make_client().application.url_map.iter_rules()
        for method in rule.methods or ()
    }
    assert {(path, method) for path, method in rules if method not in ("HEAD", "OPTIONS")} == (
        OPERATIONS
    )


def test_the_document_is_valid_and_served(make_client: MakeClient) -> None:
    api.validate()
    assert make_client().get("/openapi.json").get_json() == DOCUMENT


@pytest.mark.parametrize("path", CAPTURES, ids=[path.stem for path in CAPTURES])
def test_what_label_studio_sends_fits_the_document(
    path: Path, make_client: MakeClient, label_studio: LabelStudio
) -> None:
    captured = read(path)
    operation = DOCUMENT["paths"][captured["path"]][captured["method"].lower()]
    if captured["body"] is not None:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        whole = {**schema, "components": DOCUMENT["components"]}
        jsonschema_rs.validate(whole, captured["body"])
    response = make_client().open(
        captured["path"], method=captured["method"], json=captured["body"]
    )
    assert response.status_code == 200
    assert_documented(response, captured["path"], captured["method"])


MOONS = view(
    PROMPT, IMAGE, '<BrushLabels name="b" toName="image"><Label value="Moon"/></BrushLabels>'
)
BARE = f'<Labels name="names" toName="image">{LABELS}</Labels>'


@pytest.mark.parametrize(
    "config",
    [
        TUTORIAL,
        view(PROMPT, IMAGE, POLYGONS),
        *(
            view(PROMPT, IMAGE, f'<{tag} name="bare" toName="image"/>', labels)
            for tag in ("Rectangle", "Brush", "Polygon")
            for labels in ("", BARE)
        ),
        MOONS,
    ],
)
@pytest.mark.parametrize("asked", [None, typed("circle. star. square. triangle. ring")])
def test_every_kind_of_region_is_in_the_document(
    make_client: MakeClient, config: str, asked: dict[str, Any] | None
) -> None:
    request = body(["/data/upload/1/wide.jpg", "/data/upload/1/none.jpg"], asked, config)
    response = make_client().post("/predict", json=request)
    found, missing = response.get_json()["results"]
    assert ("result" in missing) == (asked is not None)
    assert found.get("result") or "Moon" in config or LABELS not in config
    assert_documented(response, "/predict", "POST")


@pytest.mark.parametrize(("path", "method"), sorted(OPERATIONS))
def test_a_login_is_asked_for_where_the_document_says_so(
    make_client: MakeClient, path: str, method: str
) -> None:
    client = make_client(BASIC_AUTH_USER="me", BASIC_AUTH_PASS="secret")
    operation = DOCUMENT["paths"][path][method.lower()]
    is_open = operation.get("security", DOCUMENT["security"]) == []
    response = client.open(path, method=method)
    # Label Studio's webhooks have no login and must not fail: test_server.py has what they do.
    is_answered = is_open or path == "/webhook"
    assert (response.status_code == 200) == is_answered
    assert (response.status_code == 401) == (not is_answered)
    assert_documented(response, path, method)


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
def test_a_body_that_is_too_large_is_refused_as_documented(
    make_client: MakeClient, path: str
) -> None:
    client = make_client()
    client.application.config["MAX_CONTENT_LENGTH"] = 100
    response = client.post(path, json={"padding": "x" * 100})
    assert response.status_code == 413
    assert_documented(response, path, "POST")


def endless() -> "Future[Pipeline]":
    return Future()


def failed() -> "Future[Pipeline]":
    pipeline: Future[Pipeline] = Future()
    pipeline.set_exception(WeightsError("model.pth is damaged: run `make weights`."))
    return pipeline


@pytest.mark.parametrize(
    ("pipeline", "path", "method", "status"),
    [
        (endless(), "/", "GET", 200),
        (endless(), "/health", "GET", 200),
        (endless(), "/ready", "GET", 503),
        (failed(), "/health", "GET", 503),
        (failed(), "/ready", "GET", 503),
        (failed(), "/predict", "POST", 503),
        (failed(), "/versions", "GET", 200),
    ],
)
def test_without_models_every_answer_is_as_documented(
    make_service: Callable[..., Service],
    pipeline: "Future[Pipeline]",
    path: str,
    method: str,
    status: int,
) -> None:
    client = client_of(replace(make_service(), backend=loading(pipeline)))
    response = client.open(path, method=method, json=body(["/data/upload/1/wide.jpg"]))
    assert response.status_code == status
    assert_documented(response, path, method)
