"""Traces are made where they are switched on, and nobody waits for who collects them."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask, Response

from grounded_labeler import tracing
from grounded_labeler.demo.process import ROOT, free_port
from grounded_labeler.errors import SettingsError
from grounded_labeler.server.observation import observe_requests
from grounded_labeler.settings_sources import OF_OTHERS
from grounded_labeler.trace_export import Recorder
from grounded_labeler.tracing import check_tracing, is_wanted
from tests.helpers.collector import Collector, run_collector
from tests.helpers.serving import PATIENCE_S, wait_until

SECRET = "teal square"  # what only the log may say
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with run_collector() as one:
        yield one


@pytest.fixture
def make_recorder(
    monkeypatch: pytest.MonkeyPatch, collector: Collector
) -> Iterator[Callable[..., Recorder]]:
    """What makes spans in this process, of which each batch is given up after two seconds."""
    made: list[Recorder] = []

    def make(**environ: str) -> Recorder:
        patience = {"OTEL_EXPORTER_OTLP_TIMEOUT": "2"}
        for name, value in (collector.environ | patience | environ).items():
            monkeypatch.setenv(name, value)
        made.append(Recorder("1", shows_prompts=False))
        return made[-1]

    collector.spans.clear()
    yield make
    collector.is_away = collector.hangs = False
    for one in made:
        one.stop(PATIENCE_S)


def test_an_error_that_nobody_expected_says_no_more_than_its_kind(
    collector: Collector,
    make_recorder: Callable[..., Recorder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "_recorder", make_recorder())
    app = Flask(__name__)
    observe_requests(app)

    @app.get("/broken")
    def broken() -> str:
        with tracing.span("models"):
            raise RuntimeError(SECRET)

    @app.get("/ready")
    def ready() -> Response:
        return Response("{}", status=401)

    client = app.test_client()
    assert client.get("/broken").status_code == 500
    spans = {one.name: one for one in collector.trace("GET /broken")}
    assert spans["models"].error == "RuntimeError: the log says more."
    assert spans["GET /broken"].error == "The log says why."
    assert spans["GET /broken"].attributes["error.type"] == "500"
    client.get("/ready")  # a probe that finds something else than models that are ready or load
    [probe] = collector.trace("GET /ready")
    assert probe.attributes["http.response.status_code"] == 401
    assert probe.error is None
    assert not [data for data in collector.came if SECRET.encode() in data]


def test_a_collector_that_is_away_costs_one_line(
    collector: Collector,
    make_recorder: Callable[..., Recorder],
    caplog: pytest.LogCaptureFixture,
) -> None:
    collector.is_away, recorder = True, make_recorder(OTEL_BSP_MAX_QUEUE_SIZE="512")
    collector.came.clear()
    for batch in (1, 2, 3):  # each of which is tried twice
        for _ in range(600):  # more than may wait
            recorder.request("GET", {}).end()
        wait_until(lambda batch=batch: len(set(collector.came)) >= batch)  # type: ignore[misc]
    wait_until(lambda: "Traces cannot be sent" in caplog.text)
    collector.is_away = False

    def has_come() -> bool:
        recorder.request("GET", {}).end()
        return "Traces are sent again" in caplog.text

    wait_until(has_come)
    assert collector.spans
    lines = [one.getMessage() for one in caplog.records]
    assert lines[-1] == "Traces are sent again"
    away = "Traces cannot be sent, and are lost until they can: Transient error Service Unavailable"
    assert len([one for one in lines if one.startswith(away)]) == 1
    assert set(lines) - {one for one in lines if one.startswith(away)} <= {
        "Traces are sent again", "Queue full, dropping Span."
    }  # fmt: skip
    assert len(lines) <= 3


def test_nobody_listens(
    make_recorder: Callable[..., Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    recorder = make_recorder(**{ENDPOINT: f"http://127.0.0.1:{free_port()}"})
    recorder.request("GET", {}).end()
    wait_until(lambda: "Traces cannot be sent" in caplog.text)
    [line] = caplog.records
    assert "Connection refused" in line.getMessage()


def test_nobody_waits_for_a_collector_that_hangs(
    collector: Collector,
    make_recorder: Callable[..., Recorder],
    caplog: pytest.LogCaptureFixture,
) -> None:
    collector.hangs = True
    recorder = make_recorder(OTEL_EXPORTER_OTLP_TIMEOUT="3600")
    recorder.request("GET", {}).end()
    recorder.stop(0.1)
    assert "The last traces could not be sent within" in caplog.text
    collector.ended.set()


@pytest.mark.slow
def test_nothing_of_it_is_imported_unless_it_is_switched_on(
    exported_demo: Path, tmp_path: Path
) -> None:
    # With graphs: transformers, which makes them, imports what it finds of OpenTelemetry.
    code = """
import sys
from grounded_labeler.server.startup import check_start
from grounded_labeler.server.wsgi import app, service, settings
check_start(settings)
service.backend.wait_until_ready()
assert app.test_client().get("/versions").status_code == 200
print([name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "google")])
"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    demo = {"DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": str(exported_demo)}
    demo |= {"DATA_DIR": str(tmp_path)}
    for off in ({}, {ENDPOINT: "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT, env=environ | demo | off, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({ENDPOINT: " "}, False),
        ({ENDPOINT: "http://a:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a:4318/v1/traces"}, True),
        ({ENDPOINT: "http://a:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({ENDPOINT: "http://a:4318", "OTEL_SDK_DISABLED": "no"}, True),
        ({ENDPOINT: "http://a:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_SERVICE_NAME": "a"}, False),
    ],
)
def test_an_address_switches_it_on(environ: dict[str, str], wanted: bool) -> None:
    assert is_wanted(environ) == wanted
    check_tracing(environ)


@pytest.mark.parametrize("address", ["collector:4317", "grpc://a:4317", "http://", "http://[", "a"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=f"^{ENDPOINT} is no address of a collector: set it to"):
        check_tracing({ENDPOINT: address})


def test_the_docs_name_the_variables_that_are_handed_on() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    handed_on = {name for name in OF_OTHERS if name.startswith("OTEL_")}
    assert set(re.findall(r"`(OTEL_\w+)[`=]", page)) == handed_on


def test_a_propagator_that_there_is_not_is_said() -> None:
    code = f"""
from grounded_labeler.errors import SettingsError
from grounded_labeler.tracing import check_tracing
try:
    check_tracing({{"{ENDPOINT}": "http://a:4318"}})
except SettingsError as error:
    print(error)
"""
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=os.environ | {"OTEL_PROPAGATORS": "pigeon"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert printed.stdout.startswith("Traces cannot be made: Propagator pigeon not found.")


def test_without_the_packages_one_sentence_says_so() -> None:
    code = f"""
import sys
sys.modules["opentelemetry"] = None
from grounded_labeler.errors import SettingsError
from grounded_labeler.tracing import check_tracing
try:
    check_tracing({{"{ENDPOINT}": "http://a:4318"}})
except SettingsError as error:
    print(error)
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout == (
        "Traces are switched on, and the packages that send them are not installed: install the "
        f"extra grounded-labeler[otel], or leave {ENDPOINT}.\n"
    )
