"""Every request has an id, one line in the log, and figures."""

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from grounded_labeler import logs
from grounded_labeler.errors import PromptError
from grounded_labeler.request_context import RequestThreads, note_project
from grounded_labeler.server.observation import observe_requests
from grounded_labeler.settings import Settings

ID = "X-Request-ID"
LOGGER = "grounded_labeler.server.observation"
logger = logging.getLogger("tests.observed")


@pytest.fixture
def client() -> FlaskClient:
    """Of an application that writes lines itself."""
    app = Flask(__name__)
    observe_requests(app)

    @app.route("/project/<name>")
    def project(name: str) -> str:
        note_project(name)
        logger.warning("of %s", name)
        with RequestThreads(1) as threads:
            threads.submit(logger.warning, "on another thread").result()
        return "done"

    @app.get("/ready")
    def ready() -> Response:
        return Response("{}", status=int(request.args["status"]))

    @app.get("/flight")
    def flight() -> str:
        return str(REGISTRY.get_sample_value("grounded_labeler_requests_in_flight"))

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("on purpose")

    return app.test_client()


@pytest.fixture(params=["json", "text"])
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def log(tmp_path: Path, log_format: str) -> Iterator[Path]:
    settings = Settings.from_env({"LOG_FORMAT": log_format})
    with logs.written_to(tmp_path / "log", settings):
        yield tmp_path / "log"


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


only_json = pytest.mark.parametrize("log_format", ["json"], indirect=True)
only_text = pytest.mark.parametrize("log_format", ["text"], indirect=True)


@only_json
def test_every_line_of_a_request_has_its_id_and_project(client: FlaskClient, log: Path) -> None:
    answer = client.get("/project/7?secret=1", headers={ID: "of-a.caller:1"})
    logger.warning("of no request")
    assert answer.headers[ID] == "of-a.caller:1"
    *lines, access, last = entries(log)
    assert [line["message"] for line in lines] == ["of 7", "on another thread"]
    assert all(one["request_id"] == "of-a.caller:1" for one in (*lines, access))
    assert all(one["project"] == "7" for one in (*lines, access))
    assert not {"request_id", "project"} & last.keys()
    assert access["logger"] == LOGGER
    facts = {key: access[key] for key in ("method", "route", "status", "bytes")}
    assert facts == {"method": "GET", "route": "/project/<name>", "status": 200, "bytes": 4}
    assert access["ms"] >= 0
    assert "secret" not in log.read_text()


@only_text
def test_the_text_has_the_same(client: FlaskClient, log: Path) -> None:
    client.get("/project/7?secret=1", headers={ID: "8e5a"})
    logger.warning("of no request")
    first, second, access, last = log.read_text().splitlines()
    assert first.endswith(" WARNING tests.observed [8e5a]: of 7")
    assert second.endswith(" WARNING tests.observed [8e5a]: on another thread")
    assert f" INFO {LOGGER} [8e5a]: GET /project/<name>: 200 in " in access
    assert access.endswith(" ms, 4 bytes")
    assert last.endswith(" WARNING tests.observed: of no request")


@pytest.mark.parametrize(
    "given", [None, "", "a b", 'a"b', "a,b", "x" * 129, "ä", "a\u2028b", "[1] ERROR forged:"]
)
@only_json
def test_an_id_that_is_not_sane_is_replaced(
    client: FlaskClient, log: Path, given: str | None
) -> None:
    headers = {} if given is None else {ID: given.encode().decode("latin-1")}
    made = [client.get("/project/7", headers=headers).headers[ID] for _ in range(2)]
    assert all(len(one) == 32 and one.isalnum() for one in made)
    assert made[0] != made[1]
    assert {one["request_id"] for one in entries(log)} == set(made)


def test_times_are_those_of_rfc_3339(log: Path, log_format: str) -> None:
    logger.warning("now")
    text = log.read_text()
    time = json.loads(text)["time"] if log_format == "json" else text.split(" ")[0]
    read = datetime.fromisoformat(time)
    assert read.utcoffset() is not None
    assert time == read.isoformat(timespec="milliseconds")
    assert "T" in time


@only_json
def test_probes_that_are_well_have_no_line(client: FlaskClient, log: Path) -> None:
    for status in (200, 503):  # models that load are no news
        client.get(f"/ready?status={status}")
    assert log.read_text() == ""
    client.get("/ready?status=401")
    assert [(one["route"], one["status"]) for one in entries(log)] == [("/ready", 401)]


@only_json
def test_what_is_no_route_has_its_path(client: FlaskClient, log: Path) -> None:
    client.get("/no%0awhere" + "x" * 9000 + "?token=secret")
    client.head("/project/7")
    [missing, *_, head] = entries(log)
    assert (missing["route"], missing["status"]) == ("other", 404)
    assert missing["message"].startswith("GET /no\\nwherexxx")
    assert len(missing["path"]) == 201
    assert (head["method"], head["bytes"]) == ("HEAD", 0)
    assert "secret" not in log.read_text()


@only_json
def test_an_error_that_nobody_expected_has_id_and_line(client: FlaskClient, log: Path) -> None:
    answer = client.get("/broken")
    assert answer.status_code == 500
    [error, access] = entries(log)
    assert error["request_id"] == access["request_id"] == answer.headers[ID]
    assert "on purpose" in error["exc_info"]
    assert access["status"] == 500


def test_requests_are_counted_timed_and_in_flight(client: FlaskClient) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"grounded_labeler_{name}", labels) or 0

    def figures() -> list[float]:
        return [
            value("requests_total", route="/flight", status="200"),
            value("request_seconds_count", route="/flight"),
            value("request_seconds_bucket", route="/flight", le="+Inf"),
        ]

    before = figures()
    assert client.get("/flight").text == "1.0"
    assert [new - old for new, old in zip(figures(), before, strict=True)] == [1, 1, 1]
    assert value("requests_in_flight") == 0
    assert value("resident_memory_bytes") > 1_000_000


PROMPT_ERROR = PromptError('In "red "tall" car >", say "red car > 0.2".', 'red "tall" car >')


@pytest.mark.parametrize("shown", ["", "false", "true"])
def test_prompts_are_written_only_where_that_is_wanted(
    tmp_path: Path, log_format: str, shown: str
) -> None:
    settings = Settings.from_env({"LOG_FORMAT": log_format, "LOG_PROMPTS": shown})
    with logs.written_to(tmp_path / "log", settings):
        logger.warning("project %s: %s", "7", PROMPT_ERROR)
        facts = {"task": 1}
        logger.warning("task %(task)s", facts, extra=facts | {"prompt": "green man"})
    first, second = (tmp_path / "log").read_text().splitlines()
    assert ("tall" in first) == ("green man" in second) == (shown == "true")
    if log_format == "json":
        first, second = json.loads(first)["message"], json.loads(second)["message"]
    cited = "…" if shown != "true" else PROMPT_ERROR.cited
    assert first.endswith(f'project 7: In "{cited}", say "red car > 0.2".')
    assert second.endswith('task 1; prompt: "green man"' if shown == "true" else "task 1")
