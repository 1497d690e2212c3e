"""One prediction per task, whatever the models do."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from grounded_labeler import predictions
from grounded_labeler.detectors import Detector
from grounded_labeler.pipeline import Pipeline
from grounded_labeler.service import Service
from grounded_labeler.structures import Candidates, RGBImage
from tests.asking import TUTORIAL, ask, body, predict, status_of, typed
from tests.conftest import client_of

WIDE, TALL = "/data/upload/1/wide.jpg", "/data/upload/1/tall.jpg"


class FragileDetector:
    """The demo detector, but pictures 640 pixels high are too much for it."""

    def __init__(self, detector: Detector) -> None:
        self.device = detector.device
        self.batch_size = 4
        self._detector = detector

    def detect(
        self, images: Sequence[RGBImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        if any(image.shape[0] == 640 for image in images):
            raise RuntimeError("out of memory")
        return self._detector.detect(images, phrases)


@pytest.fixture
def service(make_service: Callable[..., Service], demo_pipeline: Pipeline) -> Service:
    pipeline: Future[Pipeline] = Future()
    pipeline.set_result(Pipeline(FragileDetector(demo_pipeline.detector), None))
    return replace(make_service(SEGMENTER="none", THREADS="2"), pipeline=pipeline)


@pytest.fixture
def fragile_client(service: Service) -> FlaskClient:
    return client_of(service)


def test_a_picture_the_models_fail_on_takes_no_other_with_it(
    fragile_client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    answers = predict(fragile_client, body([*[WIDE] * 9, TALL, WIDE]))
    assert ["result" in answer for answer in answers] == [*[True] * 9, False, True]
    assert answers[9]["error"].startswith("The models failed on this image")
    assert "out of memory" in caplog.text


def test_an_annotator_is_told_that_the_models_failed(fragile_client: FlaskClient) -> None:
    assert status_of(ask(fragile_client, TALL, "ring")).startswith("The models failed")


def test_requests_beyond_threads_are_told_to_come_back(
    service: Service, fragile_client: FlaskClient
) -> None:
    with service.place(), service.place():
        response = fragile_client.post("/predict", json=body([WIDE]))
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert status_of(ask(fragile_client, WIDE, "ring")).startswith("Too many requests")
        # After Submit nothing is asked, and nothing needs a place.
        [prediction] = predict(fragile_client, body([WIDE], {"result": []}))
        assert prediction["result"] == []
        setup = {"project": "1.2", "schema": TUTORIAL}
        assert fragile_client.post("/setup", json=setup).status_code == 200
    [prediction] = predict(fragile_client, body([WIDE], typed("ring")))
    assert status_of(prediction["result"]).startswith("Found Ring")


def test_a_place_is_free_again_after_a_failure(
    service: Service, fragile_client: FlaskClient
) -> None:
    for _ in range(5):
        missing = body([WIDE]) | {"tasks": [{"id": 1, "data": {"image": "ftp://x/y"}}]}
        assert "result" not in predict(fragile_client, missing)[0]
    free = [service.places.acquire(blocking=False) for _ in range(3)]
    assert free == [True, True, False]


def test_all_threads_see_the_same_places(service: Service) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with service.place():
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(10)
    assert service.places.acquire(blocking=False)
    assert not service.places.acquire(blocking=False)
    leave.set()
    holder.join()


class SlowDetector(FragileDetector):
    """Takes a tenth of a second for each picture."""

    def __init__(self, detector: Detector) -> None:
        super().__init__(detector)
        self.batch_size = 1

    def detect(
        self, images: Sequence[RGBImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        time.sleep(0.1 * len(images))
        return super().detect(images, phrases)


def test_what_is_not_reached_in_time_is_left_for_the_next_request(
    service: Service, demo_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_BUDGET_SECONDS", 1.0)
    pipeline: Future[Pipeline] = Future()
    pipeline.set_result(Pipeline(SlowDetector(demo_pipeline.detector), None))
    slow = replace(service, pipeline=pipeline)
    client = client_of(slow)
    begin = time.monotonic()
    answers = predict(client, body([WIDE] * 40))
    assert time.monotonic() - begin < 2
    reached = ["result" in answer for answer in answers]
    assert reached == sorted(reached, reverse=True)
    assert 1 <= sum(reached) <= 10
    assert "Not reached within 1 s" in answers[-1]["error"]


def test_one_batch_and_every_typed_prompt_is_answered_however_long_it_takes(
    fragile_client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_BUDGET_SECONDS", 0.0)
    for answer in predict(fragile_client, body([WIDE] * 9, typed("ring"))):
        assert status_of(answer["result"]).startswith("Found Ring")
    pre_annotated = predict(fragile_client, body([WIDE] * 9))
    assert ["result" in answer for answer in pre_annotated] == [True] * 4 + [False] * 5
