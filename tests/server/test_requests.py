"""Bodies of requests: what is read of them, and one sentence for each that cannot be used."""

from typing import Any

import pytest

from grounded_labeler.errors import BadRequest
from grounded_labeler.server.requests import (
    PredictRequest,
    SetupRequest,
    WebhookRequest,
    read_request,
)
from tests.conftest import MakeClient
from tests.helpers.asking import TUTORIAL

TASK: dict[str, Any] = {"id": 1, "data": {"image": "data:image/png;base64,"}}
PREDICT: dict[str, Any] = {"tasks": [TASK], "label_config": TUTORIAL}
NO_TASKS: list[object] = [
    *(None, 5, "text", [], {}),
    *({"id": 1}, {"data": None}, {"data": [TASK]}),
]
NO_LIST = "`tasks` must be a list of Label Studio tasks."
EMPTY = "`tasks` is empty: send at least one task."
NO_TASK = "Every task must be an object with a `data` object."
NO_PARAMS = "`params` must be an object."
NO_CONFIG = "The request has no label config: set one under Labeling Interface."
NO_OBJECT = "The request body must be a JSON object."


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        *(
            (path, body, NO_OBJECT)
            for path in ("/setup", "/predict", "/webhook")
            for body in (None, 5, "text", [], [PREDICT])
        ),
        *(
            ("/predict", PREDICT | {"tasks": tasks}, NO_LIST)
            for tasks in (None, 5, "text", {}, TASK)
        ),
        ("/predict", {"label_config": TUTORIAL}, NO_LIST),
        ("/predict", {}, NO_LIST),
        ("/predict", PREDICT | {"tasks": []}, EMPTY),
        *(("/predict", PREDICT | {"tasks": [TASK, task]}, NO_TASK) for task in NO_TASKS),
        *(
            ("/predict", PREDICT | {"params": params}, NO_PARAMS)
            for params in (5, "text", [1], True)
        ),
        ("/predict", PREDICT | {"params": 5, "tasks": 5, "label_config": 5}, NO_LIST),
        ("/predict", PREDICT | {"params": 5, "label_config": 5}, NO_PARAMS),
        *(("/predict", PREDICT | {"label_config": config}, NO_CONFIG) for config in (None, 5, " ")),
        ("/predict", {"tasks": [TASK]}, NO_CONFIG),
        *(("/setup", {"schema": config}, NO_CONFIG) for config in (None, 5, " ", [TUTORIAL])),
        ("/setup", {}, NO_CONFIG),
    ],
)
def test_a_body_that_cannot_be_used_gets_one_sentence(
    make_client: MakeClient, path: str, body: object, sentence: str
) -> None:
    response = make_client().post(path, json=body)
    assert (response.status_code, response.get_json()) == (400, {"error": sentence})


def test_too_many_tasks_are_refused_before_any_is_looked_at(make_client: MakeClient) -> None:
    client = make_client(MAX_TASKS="2")
    response = client.post("/predict", json=PREDICT | {"tasks": [None, None, None]})
    sentence = "3 tasks are more than 2, which MAX_TASKS sets."
    assert (response.status_code, response.get_json()) == (400, {"error": sentence})


def test_only_the_first_wrong_task_is_reported() -> None:
    """Each that pydantic reports takes memory: a body has room for millions."""
    with pytest.raises(BadRequest, match="Every task"):
        read_request(PredictRequest, PREDICT | {"tasks": [None] * 1_000_000})


def test_what_a_task_holds_is_not_copied() -> None:
    data = {"image": "data:image/png;base64,", "more": {"deep": [1]}}
    saved = {"annotations": [{"result": []}], "drafts": "any value"}
    task = {"id": 1, "data": data, "predictions": [{"result": []}]} | saved
    [read] = read_request(PredictRequest, PREDICT | {"tasks": [task]}).tasks
    assert read == {"id": 1, "data": data} | saved  # the rest is not read
    assert all(read["data"][key] is value for key, value in data.items())
    assert read["annotations"] is saved["annotations"]


@pytest.mark.parametrize("params", [None, {}, 0, "", [], False, {"context": None}, {"x": 1}])
def test_params_that_say_nothing_mean_that_nobody_typed(params: object) -> None:
    request = read_request(PredictRequest, PREDICT | {"params": params})
    assert (request.params and request.params.context) is None


@pytest.mark.parametrize("context", [{}, 5, "text", [1], {"result": 5}, {"result": [5]}])
def test_a_context_is_passed_on_as_it_came(context: Any) -> None:
    request = read_request(PredictRequest, PREDICT | {"params": {"context": context}})
    assert request.params is not None
    assert request.params.context is context


@pytest.mark.parametrize(
    ("project", "key"),
    [("1.2", "1.2"), (7, "7"), (None, ""), ([1], "[1]"), ("x" * 2000, "x" * 64)],
)
def test_a_project_of_any_kind_has_a_key(project: object, key: str) -> None:
    setup = read_request(SetupRequest, {"schema": TUTORIAL, "project": project})
    predict = read_request(PredictRequest, PREDICT | {"project": project})
    assert setup.project == predict.project == key


@pytest.mark.parametrize("text", [None, "", 5, ["http://a"], "x" * 2001])
def test_a_host_name_or_token_that_is_no_text_is_none(text: object) -> None:
    setup = read_request(SetupRequest, {"schema": TUTORIAL, "hostname": text, "access_token": text})
    assert (setup.hostname, setup.access_token) == (None, None)
    setup = read_request(SetupRequest, {"schema": TUTORIAL, "hostname": "h", "access_token": "t"})
    assert (setup.hostname, setup.access_token) == ("h", "t")


@pytest.mark.parametrize("anything", [None, 5, "text", [1]])
def test_an_event_about_something_else_is_accepted(
    make_client: MakeClient, anything: object
) -> None:
    event = {"action": anything, "project": anything, "annotation": anything}
    request = read_request(WebhookRequest, event)
    assert (request.project, request.annotation) == (None, None)
    project = {"id": anything, "created_at": anything, "label_config": None}
    for body in (event, {"project": project, "annotation": {"result": anything}}):
        response = make_client().post("/webhook", json=body)
        assert (response.status_code, response.get_json()) == (200, {})
