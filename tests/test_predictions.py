"""One prediction per task, whatever the models do."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from grounded_labeler.detectors import Detector
from grounded_labeler.errors import CallerGone, NotReady
from grounded_labeler.fetch import Fetcher, Origin
from grounded_labeler.pipeline import Found, Job, Pipeline
from grounded_labeler.service import Service
from grounded_labeler.structures import Candidates, Picture
from model import GroundedLabeler
from tests.asking import (
    IMAGE,
    PROMPT,
    RECTANGLES,
    TUTORIAL,
    ask,
    body,
    predict,
    status_of,
    typed,
    view,
)
from tests.conftest import SAMPLES, client_of

WIDE, TALL = "/data/upload/1/wide.jpg", "/data/upload/1/tall.jpg"


class FragileDetector:
    """The demo detector, but pictures 640 pixels high are too much for it."""

    def __init__(self, detector: Detector) -> None:
        self.device = detector.device
        self.batch_size = 4
        self._detector = detector

    def detect(
        self, pictures: Sequence[Picture], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        if any(picture.pixels.shape[0] == 640 for picture in pictures):
            raise RuntimeError("out of memory")
        return self._detector.detect(pictures, phrases)


@pytest.fixture
def make_fragile(
    make_service: Callable[..., Service], demo_pipeline: Pipeline
) -> Callable[..., Service]:
    def make(detector: type[FragileDetector] = FragileDetector, **environ: str) -> Service:
        pipeline: Future[Pipeline] = Future()
        pipeline.set_result(Pipeline(detector(demo_pipeline.detector), None))
        service = make_service(SEGMENTER="none", THREADS="2", **environ)
        return replace(service, pipeline=pipeline)

    return make


@pytest.fixture
def service(make_fragile: Callable[..., Service]) -> Service:
    return make_fragile()


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
    with service.executor.place(), service.executor.place():
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
    with service.executor.place(), service.executor.place():
        assert fragile_client.post("/predict", json=body([WIDE])).status_code == 503


def test_without_a_status_field_a_typed_prompt_is_told_to_come_back_too(
    service: Service, fragile_client: FlaskClient
) -> None:
    without = body([WIDE], typed("ring"), view(PROMPT, IMAGE, RECTANGLES))
    with service.executor.place(), service.executor.place():
        assert fragile_client.post("/predict", json=without).status_code == 503


class SlowDetector(FragileDetector):
    """Takes a tenth of a second for each picture."""

    def __init__(self, detector: Detector) -> None:
        super().__init__(detector)
        self.batch_size = 1

    def detect(
        self, pictures: Sequence[Picture], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        time.sleep(0.1 * len(pictures))
        return super().detect(pictures, phrases)


def test_what_is_not_reached_in_time_is_left_for_the_next_request(
    make_fragile: Callable[..., Service],
) -> None:
    client = client_of(make_fragile(SlowDetector, REQUEST_DEADLINE="1"))
    begin = time.monotonic()
    answers = predict(client, body([WIDE] * 40))
    assert time.monotonic() - begin < 2
    reached = ["result" in answer for answer in answers]
    assert reached == sorted(reached, reverse=True)
    assert 1 <= sum(reached) <= 10
    assert "Not reached within 1 s" in answers[-1]["error"]


def test_one_task_and_every_typed_prompt_is_answered_however_long_it_takes(
    make_fragile: Callable[..., Service],
) -> None:
    client = client_of(make_fragile(REQUEST_DEADLINE="0.0001"))
    for answer in predict(client, body([WIDE] * 9, typed("ring"))):
        assert status_of(answer["result"]).startswith("Found Ring")
    pre_annotated = predict(client, body([WIDE] * 9))
    reached = ["result" in answer for answer in pre_annotated]
    # Of the first batch, of four, also what was fetched when its first picture was.
    assert reached[0]
    assert reached[4:] == [False] * 5


class SlowFetcher(Fetcher):
    """Takes 0.3 s longer for each picture; `times_left` is what it was given for each."""

    def __init__(self, picture: bytes) -> None:
        super().__init__()
        self.picture = picture
        self.times_left: list[float] = []

    def fetch(
        self,
        uri: str,
        origin: Origin | None,
        task_id: int | None = None,
        time_left: float = math.inf,
    ) -> bytes:
        self.times_left.append(time_left)
        time.sleep(0.3 * len(self.times_left))
        return self.picture


def test_images_that_are_slow_to_come_do_not_hold_up_those_that_are_there(
    make_fragile: Callable[..., Service],
) -> None:
    fetcher = SlowFetcher((SAMPLES / "wide.jpg").read_bytes())
    service = replace(make_fragile(REQUEST_DEADLINE="1"), fetcher=fetcher)
    answers = predict(client_of(service), body([WIDE] * 12))
    reached = ["result" in answer for answer in answers]
    assert reached == sorted(reached, reverse=True)
    assert 1 <= sum(reached) <= 3  # a batch is four
    assert len(fetcher.times_left) <= 8, "no more than one batch is fetched ahead"
    assert all(left <= 1 for left in fetcher.times_left)


def test_what_is_there_is_sent_when_the_models_become_too_busy(
    make_fragile: Callable[..., Service],
) -> None:
    service = make_fragile(REQUEST_DEADLINE="60")
    busy = iter([False, True])
    run = service.executor.run

    def run_once(*arguments: Any, **named: Any) -> Any:
        if next(busy):
            raise NotReady("busy")
        return run(*arguments, **named)

    service.executor.run = run_once  # type: ignore[method-assign]
    answers = predict(client_of(service), body([WIDE] * 9))
    assert ["result" in answer for answer in answers] == [True] * 4 + [False] * 5


def test_nothing_more_is_done_for_a_caller_that_has_gone(
    make_fragile: Callable[..., Service],
) -> None:
    service = make_fragile()
    asked: list[int] = []
    pipeline: Pipeline = service.pipeline.result()
    run = pipeline.run

    def count(jobs: Sequence[Job]) -> list[Found]:
        asked.append(len(jobs))
        return run(jobs)

    pipeline.run = count  # type: ignore[method-assign]
    labeler = GroundedLabeler.bound_to(service)("1", TUTORIAL)
    with pytest.raises(CallerGone):
        labeler.predict(body([WIDE] * 12)["tasks"], is_gone=lambda: bool(asked))
    assert asked == [4]
