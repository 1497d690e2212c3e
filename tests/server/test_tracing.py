"""A collector gets a span for each request and each stage of its images; nobody waits for it."""

import json
import re
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from grounded_labeler.__about__ import __version__
from grounded_labeler.demo.process import DidNotStart, free_port, run_service
from tests.helpers.asking import (
    IMAGE,
    LABELS,
    TUTORIAL,
    body,
    typed,
    view,
)
from tests.helpers.collector import Collector, Span, run_collector
from tests.helpers.serving import BOXES, Server, drawn, send, served, wait_until

SECRET = "teal square"  # what somebody typed
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER_KIND, INTERNAL_KIND = 2, 1
SMART = '<RectangleLabels name="label" toName="image" smart="true">' + LABELS + "</RectangleLabels>"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with run_collector() as one:
        yield one


@pytest.fixture(scope="module")
def server(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service itself, with the demo models."""
    folder = tmp_path_factory.mktemp("traced")
    settings = {"LOG_FORMAT": "json", "LABEL_STUDIO_URL": "http://127.0.0.1:9", "CPU_THREADS": "1"}
    with run_service(free_port(), folder / "log", **settings, **collector.environ) as url:
        yield Server(url, folder)


@pytest.fixture
def sent(collector: Collector, server: Server) -> Iterator[Collector]:
    """The collector, with nothing in it of earlier tests that is to be seen."""
    collector.spans.clear()
    yield collector


def by_name(spans: list[Span]) -> dict[str, list[Span]]:
    names = sorted({one.name for one in spans})
    return {name: [one for one in spans if one.name == name] for name in names}


def entries(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]


def test_a_request_is_a_tree_of_its_stages(server: Server, sent: Collector) -> None:
    request = body([drawn("square"), drawn("circle")], typed(SECRET), TUTORIAL)
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-ID": "mine"}
    answer = send("POST", server.url + "/predict", json=request, headers=headers)
    assert answer.status_code == 200
    spans = by_name(sent.trace("POST /predict"))

    [root] = spans.pop("POST /predict")
    assert (root.trace, root.parent, root.kind) == (TRACE, CALLER, SERVER_KIND)
    assert root.error is None
    assert root.attributes == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "http.response.body.size": len(answer.content),
        "url.path": "/predict",
        "url.scheme": "http",
        "request_id": "mine",
        "project": "1.1795170150",
    }
    assert root.service["service.name"] == "grounded-labeler"
    assert root.service["service.version"] == __version__

    # The demo detector takes one image at a time on a CPU, so there are two runs.
    assert {name: len(found) for name, found in spans.items()} == {
        "models": 2, "fetch": 2, "decode": 2, "detect": 2, "segment": 2, "encode": 2
    }  # fmt: skip
    runs = {one.id: one for one in spans["models"]}
    for name, found in spans.items():
        assert {one.trace for one in found} == {TRACE}
        assert {one.kind for one in found} == {INTERNAL_KIND}
        of_models = name in ("detect", "segment")
        assert {one.parent for one in found} <= (runs.keys() if of_models else {root.id})
        if name != "models":
            assert sorted(one.attributes["task"] for one in found) == [1, 2]
        for one in found:
            outer = runs[one.parent] if of_models else root
            # Clocks that count nanoseconds are not those that count seconds: a millisecond.
            assert outer.start_ns - 10**6 <= one.start_ns <= one.end_ns <= outer.end_ns + 10**6
    assert all(one.attributes["bytes"] > 100 for one in spans["fetch"])  # type: ignore[operator]
    assert spans["decode"][0].attributes.items() >= {"width": 96, "height": 72}.items()
    [detect, _] = spans["detect"]
    assert detect.attributes.items() >= {"batch_size": 1, "phrases": 1}.items()
    assert "found" in detect.attributes

    told = [line for line in entries(server) if line.get("request_id") == "mine"]
    assert len(told) >= 3
    assert {line.get("trace_id") for line in told} == {TRACE}


def test_what_people_type_is_in_no_span(server: Server, sent: Collector) -> None:
    server.ask(SECRET)
    server.ask(f'"{SECRET}" > high')  # one that cannot be read, and is cited
    sent.trace("POST /predict", 2)
    assert not [data for data in sent.came if b"teal" in data]


def test_errors_are_what_spans_say(server: Server, sent: Collector) -> None:
    images = ["http://127.0.0.1:9/none.png", "data:image/png;base64,AAAA"]
    assert server.post("/predict", body(images, typed("square"), BOXES)).status_code == 200
    spans = by_name(sent.trace("POST /predict"))
    assert [one.error for one in spans["POST /predict"]] == [None]
    [failed] = [one for one in spans["fetch"] if one.error]
    assert "127.0.0.1" in (failed.error or "")
    assert failed.attributes["task"] == 1
    assert failed.events[0][1]["exception.message"] == failed.error
    [undecoded] = spans["decode"]
    assert undecoded.error
    assert undecoded.attributes["task"] == 2

    assert server.post("/predict", {"tasks": 3}).status_code == 400
    [refused] = sent.trace("POST /predict", 2)
    # Somebody else's error is not one of this service's: so says OpenTelemetry of HTTP.
    assert refused.error is None
    [(name, event)] = refused.events
    assert (name, event["exception.type"]) == ("exception", "BadRequest")
    assert refused.attributes["error.type"] == "BadRequest"
    assert "tasks" in str(event["exception.message"])


def test_other_paths_and_methods_are_few_names(server: Server, sent: Collector) -> None:
    send("GET", server.url + "/nowhere/7?token=secret")
    send("BREW", server.url + "/predict")
    wait_until(lambda: len(sent.spans) == 2)
    nowhere, brew = sent.spans
    assert (nowhere.name, nowhere.attributes["url.path"]) == ("GET", "/nowhere/7")
    assert "http.route" not in nowhere.attributes
    assert (brew.name, brew.attributes["http.request.method_original"]) == ("_OTHER", "BREW")
    assert not [data for data in sent.came if b"secret" in data]


@pytest.mark.parametrize(
    "given", ["", "00-0-0-01", "x" * 5000, f"00-{'0' * 32}-{CALLER}-01", f"ff-{TRACE}-{CALLER}-01"]
)
def test_what_is_no_trace_begins_a_new_one(server: Server, sent: Collector, given: str) -> None:
    headers = {"traceparent": given, "tracestate": "=,=", "baggage": "%%%=;,"}
    assert send("GET", server.url + "/versions", headers=headers).ok
    [span] = sent.trace("GET /versions")
    assert span.parent == ""
    assert int(span.trace, 16)


def test_what_is_no_text_is_sent_as_well(server: Server, sent: Collector) -> None:
    """JSON may have half of a character: one must not cost the traces of others."""
    request = body([drawn("square"), "\ud800.png"], typed("square"), BOXES)
    request |= {"project": "\ud800"}
    request["tasks"][0]["id"] = "\udfff"
    assert server.post("/predict", request).status_code == 200
    [root] = [one for one in sent.trace("POST /predict") if one.name == "POST /predict"]
    assert root.attributes["project"] == "?"
    assert "?" in {one.attributes["task"] for one in sent.named("fetch")}


def test_a_caller_that_is_not_sampled_is_not_sent(server: Server, sent: Collector) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-00", "X-Request-ID": "unsampled"}
    assert send("GET", server.url + "/versions", headers=headers).ok
    assert send("GET", server.url + "/versions").ok
    assert len(sent.trace("GET /versions")) == 1
    assert TRACE not in {one.trace for one in sent.spans}


def test_probes_that_are_well_are_not_sent(server: Server, sent: Collector) -> None:
    for path in ("/health", "/ready", "/metrics", "/versions"):
        assert server.get(path).ok
    sent.trace("GET /versions")
    assert [one.name for one in sent.spans] == ["GET /versions"]


def test_what_goes_on_after_the_response_is_of_the_same_request(
    server: Server, sent: Collector
) -> None:
    config = view(IMAGE, SMART)
    assert server.post("/predict", body([drawn("circle")], None, config)).status_code == 200
    sent.trace("POST /predict")
    wait_until(lambda: sent.named("encode ahead"))
    [root] = sent.named("POST /predict")
    spans = by_name([one for one in sent.spans if one.trace == root.trace])
    [ahead] = spans["encode ahead"]
    assert ahead.parent == root.id
    for name in ("fetch", "decode"):
        assert {one.parent for one in spans[name]} == {root.id, ahead.id}


def ask_together(server: Server, number: int) -> None:
    """Send two requests while a third, which has this number, is at the models."""
    server.hold()
    runs = len(server.lines("runs"))
    asking = [threading.Thread(target=server.ask, args=(f"wait. number {number}",))]
    asking[0].start()
    wait_until(lambda: len(server.lines("runs")) > runs)
    for kind in ("square", "circle"):
        asking.append(threading.Thread(target=server.ask, args=(kind, kind)))
        asking[-1].start()
    queued = re.compile(r'queue_depth{kind="typed_prompt"} 3\.0')
    wait_until(lambda: queued.search(server.get("/metrics").text))
    server.go_on()
    for one in asking:
        one.join()


def test_requests_that_ran_as_one_batch_have_a_span_each(tmp_path: Path) -> None:
    with (
        run_collector() as collector,
        served(tmp_path, BATCH_SIZE="2", LOG_PROMPTS="true", **collector.environ) as server,
    ):
        detects: list[Span] = []
        numbers = count(1)

        def are_together() -> bool:
            """They may be counted as queued a moment before they are: then once more."""
            number = next(numbers)
            ask_together(server, number)
            collector.trace("POST /predict", 3 * number)
            found = collector.named("detect")
            detects[:] = [one for one in found if one.attributes["batch_size"] == 2]
            return bool(detects)

        wait_until(are_together)
    roots = {one.id: one for one in collector.named("POST /predict")}
    models = {one.id: one for one in collector.named("models")}
    assert len(detects) == 2
    assert {one.start_ns for one in detects} == {detects[0].start_ns}
    parents = {models[one.parent].parent for one in detects}
    assert len(parents) == 2
    assert parents < roots.keys()
    assert len({one.trace for one in detects}) == 2
    assert {one.attributes["prompt"] for one in detects} == {"square", "circle"}


def test_the_last_spans_are_sent_when_the_service_ends(tmp_path: Path) -> None:
    with run_collector() as collector:
        environ = collector.environ | {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
        with served(tmp_path, **environ) as server:
            server.ask("square")
            assert collector.came == []
        assert len(collector.came) == 1
    assert [one.name for one in collector.named("POST /predict")] == ["POST /predict"]
    assert "could not be sent" not in server.log
    assert "Shutting down: Master" in server.log


def test_workers_send_as_the_variables_say(tmp_path: Path) -> None:
    with run_collector() as collector:
        environ = collector.environ | {"WORKERS": "2", "OTEL_SERVICE_NAME": "cars"}
        environ |= {"LABEL_STUDIO_URL": "http://127.0.0.1:9"}
        environ |= {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20t"}
        with served(tmp_path, **environ) as server:
            sending = [threading.Thread(target=server.get, args=("/versions",)) for _ in range(20)]
            for one in sending:
                one.start()
            for one in sending:
                one.join()
        assert len({one.trace for one in collector.named("GET /versions")}) == 20
    assert {one.service["service.name"] for one in collector.spans} == {"cars"}
    assert {one["authorization"] for one in collector.headers} == {"Bearer t"}


def test_a_wrong_variable_is_said_before_the_port_opens(tmp_path: Path) -> None:
    environ = {ENDPOINT: "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    said = r"at once:\nOTEL_EXPORTER_OTLP_PROTOCOL=grpc: this"
    with pytest.raises(DidNotStart, match=said), served(tmp_path, **environ):
        pass
