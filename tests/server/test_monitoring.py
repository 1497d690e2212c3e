"""Alive, ready, and the figures, as orchestrators and Prometheus ask for them."""

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.service import Service
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.model import Model
from grounded_labeler.weights.own import Kind
from grounded_labeler.weights.verification import Outcome, Verification, digest_of, write
from tests.conftest import client_of
from tests.helpers.asking import TUTORIAL, ask, body, predict, typed
from tests.helpers.backends import loaded, loading, local
from tests.helpers.clocks import FakeClock
from tests.helpers.models_thread import held
from tests.helpers.serving import wait_until

WIDE = "/data/upload/1/wide.jpg"


def figures(client: FlaskClient) -> dict[tuple[str, ...], float]:
    """Each sample's value by its name and the values of its labels."""
    response = client.get("/metrics")
    assert response.content_type.startswith("text/plain; version=0.0.4")
    return {
        (sample.name.removeprefix("grounded_labeler_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


def risen(
    before: dict[tuple[str, ...], float], after: dict[tuple[str, ...], float]
) -> dict[tuple[str, ...], float]:
    return {
        key: value - before.get(key, 0)
        for key, value in after.items()
        if value != before.get(key, 0) and not key[0].startswith(("process", "python"))
    }


def test_ready_once_the_models_are_there(make_service: Callable[..., Service]) -> None:
    models: Future[Pipeline] = Future()
    service = make_service()
    backend = loading(models)
    client = client_of(replace(service, backend=backend))
    refusal = client.get("/ready")
    assert refusal.status_code == 503
    assert int(refusal.headers["Retry-After"]) > 0
    assert "loading" in refusal.get_json()["error"]
    models.set_result(local(service).pipeline)
    backend.wait_until_ready()
    assert client.get("/ready").get_json() == {"status": "READY"}


def test_probes_while_the_models_load_are_neither_failures_nor_lines_of_the_log(
    make_service: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(replace(make_service(), backend=loading(Future())))
    before = figures(client)
    for _ in range(3):
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
    rise = risen(before, figures(client))
    assert rise["requests_total", "/ready", "503"] == 3
    assert not any(name == "failures_total" for name, *_ in rise)
    assert caplog.records == []


def test_models_that_are_stuck_make_it_neither_alive_nor_ready(
    make_service: Callable[..., Service],
) -> None:
    clock = FakeClock()
    queue = InferenceQueue(deadline_s=5, clock=clock)
    client = client_of(
        replace(make_service(), backend=loaded(local(make_service()).pipeline, queue))
    )
    with held(queue):
        clock.pass_by(6)
        health = client.get("/health")
        assert (health.status_code, health.get_json()["models"]) == (503, "stuck")
        assert "restart" in health.get_json()["error"]
        assert client.get("/ready").status_code == 503
        assert client.post("/predict", json=body([WIDE])).status_code == 503


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_models_without_their_thread_make_it_neither_alive_nor_ready(
    make_service: Callable[..., Service],
) -> None:
    def end_the_thread() -> None:
        raise SystemExit

    queue = InferenceQueue(60, end_the_thread, idle_seconds=0)
    client = client_of(
        replace(make_service(), backend=loaded(local(make_service()).pipeline, queue))
    )
    wait_until(lambda: queue.is_lost)
    health = client.get("/health")
    assert (health.status_code, health.get_json()["models"]) == (503, "lost")
    assert "has ended: restart" in health.get_json()["error"]
    assert client.get("/ready").status_code == 503
    assert client.post("/predict", json=body([WIDE])).status_code == 503


def test_a_request_is_counted_and_its_stages_are_timed(client: FlaskClient) -> None:
    before = figures(client)
    ask(client, WIDE, "red circle . star")
    rise = risen(before, figures(client))
    assert rise["requests_total", "/predict", "200"] == 1
    assert rise["tasks_total", "answered"] == 1
    assert rise["regions_total",] == 3
    for stage in ("fetch", "decode", "detect", "segment", "encode"):
        assert rise["stage_seconds_count", stage] == 1
        assert rise["stage_seconds_sum", stage] > 0
    assert not any(name == "failures_total" for name, *_ in rise)


def test_failures_are_counted_by_their_cause(client: FlaskClient) -> None:
    before = figures(client)
    missing, broken = "/data/upload/1/missing.jpg", "data:image/png;base64,AAAA"
    predict(client, body([WIDE, missing, broken, broken]))
    client.post("/predict", json=[])
    client.get("/nowhere")
    rise = risen(before, figures(client))
    assert rise["failures_total", "fetch"] == 1
    assert rise["failures_total", "decode"] == 2
    assert rise["failures_total", "bad_request"] == 1
    assert rise["tasks_total", "answered"] == 1
    assert rise["tasks_total", "failed"] == 3
    assert rise["requests_total", "/predict", "400"] == 1
    assert rise["requests_total", "other", "404"] == 1


def test_what_waits_for_the_models_is_the_queue_depth(
    make_service: Callable[..., Service],
) -> None:
    service = make_service()
    client = client_of(service)
    asker = threading.Thread(
        target=client_of(service).post,
        args=("/predict",),
        kwargs={"json": body([WIDE], typed("ring"), TUTORIAL)},
    )
    with held(local(service).queue):
        asker.start()
        wait_until(lambda: figures(client)["queue_depth", "typed_prompt"] == 1)
    asker.join()
    assert figures(client)["queue_depth", "typed_prompt"] == 0


def test_health_says_whether_each_model_was_verified(
    make_service: Callable[..., Service], tmp_path: Path
) -> None:
    assert client_of(make_service()).get("/health").get_json()["verified"] == {
        "demo": "not verified"
    }
    models: list[tuple[Kind, Model]] = [
        ("detector", DETECTORS["demo"]),
        ("segmenter", SEGMENTERS["demo"]),
    ]
    for kind, model in models:
        digest = digest_of(model, tmp_path)
        write(Verification("demo", kind, Outcome.VERIFIED, "0", digest), tmp_path)
    client = client_of(make_service())
    assert client.get("/health").get_json()["verified"] == {"demo": "verified"}
    # What was read at first is said from then on: health reads no file.
    shutil.rmtree(tmp_path / "verify")
    assert client.get("/health").get_json()["verified"] == {"demo": "verified"}
    write(Verification("demo", "detector", Outcome.VERIFIED, "0", "of other weights"), tmp_path)
    assert client_of(make_service()).get("/health").get_json()["verified"] == {
        "demo": "not verified"
    }


def test_health_says_of_models_of_which_nothing_was_published_that_it_was_not(
    make_service: Callable[..., Service],
) -> None:
    service = make_service(SEGMENTER="mobile-sam")
    assert client_of(service).get("/health").get_json()["verified"] == {
        "demo": "not verified",
        "mobile-sam": "no published values",
    }
