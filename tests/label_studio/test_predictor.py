"""One prediction per task, whatever the models do."""

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray

from grounded_labeler.core.inference import InferenceResult, Request
from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.errors import CallerGone, NotReady
from grounded_labeler.images.fetcher import Fetcher, Origin
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.inference.slots import RequestSlots
from grounded_labeler.label_studio.backend import GroundedLabeler
from grounded_labeler.label_studio.prediction_builder import PredictionBuilder
from grounded_labeler.models.detectors import Detector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.service import Service
from tests.conftest import SAMPLES, client_of
from tests.helpers.asking import (
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
from tests.helpers.backends import loaded, local
from tests.helpers.clocks import FakeClock
from tests.helpers.models_thread import WAIT_S, held
from tests.helpers.serving import wait_until

WIDE, TALL = "/data/upload/1/wide.jpg", "/data/upload/1/tall.jpg"


class FragileDetector:
    """The demo detector, but images 640 pixels high are too much for it."""

    def __init__(self, detector: Detector) -> None:
        self.device, self.longest = detector.device, detector.longest
        self.batch_size = 4
        self._detector = detector

    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        return self._detector.embed(images)

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        if any(image.pixels.shape[0] == 640 for image in images):
            raise RuntimeError("out of memory")
        return self._detector.detect(images, phrases)

    def release(self) -> None:
        self._detector.release()


@pytest.fixture
def make_fragile(
    make_service: Callable[..., Service], demo_pipeline: Pipeline
) -> Callable[..., Service]:
    def make(detector: Callable[[Detector], Detector] = FragileDetector, **environ: str) -> Service:
        pipeline = Pipeline(detector(demo_pipeline.detector), None)
        service = make_service(SEGMENTER="none", THREADS="2", **environ)
        return replace(service, backend=loaded(pipeline))

    return make


@pytest.fixture
def service(make_fragile: Callable[..., Service]) -> Service:
    return make_fragile()


@pytest.fixture
def fragile_client(service: Service) -> FlaskClient:
    return client_of(service)


def test_an_image_the_models_fail_on_takes_no_other_with_it(
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
    with service.slots.take(), service.slots.take():
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
    with service.slots.take(), service.slots.take():
        assert fragile_client.post("/predict", json=body([WIDE])).status_code == 503


def test_without_a_status_field_a_typed_prompt_is_told_to_come_back_too(
    service: Service, fragile_client: FlaskClient
) -> None:
    without = body([WIDE], typed("ring"), view(PROMPT, IMAGE, RECTANGLES))
    with service.slots.take(), service.slots.take():
        assert fragile_client.post("/predict", json=without).status_code == 503


class SlowDetector(FragileDetector):
    """Takes `seconds` by `clock` for each image; notes what is asked of each batch."""

    def __init__(self, detector: Detector, clock: FakeClock, seconds: float, size: int = 1) -> None:
        super().__init__(detector)
        self.batch_size = size
        self.asked: list[list[str]] = []
        self._clock, self._seconds = clock, seconds

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        self._clock.pass_by(self._seconds * len(images))
        self.asked.append([text for texts in phrases for text in texts])
        return super().detect(images, phrases)


@dataclass
class Slow:
    """A service whose time passes only where a test lets it, on a SlowDetector."""

    service: Service
    clock: FakeClock
    detector: SlowDetector


@pytest.fixture
def make_slow(make_fragile: Callable[..., Service], demo_pipeline: Pipeline) -> Callable[..., Slow]:
    def make(seconds: float = 0, size: int = 1, **environ: str) -> Slow:
        clock = FakeClock()
        detector = SlowDetector(demo_pipeline.detector, clock, seconds, size)
        service = make_fragile(lambda _: detector, **environ)
        # Time stands still for it: whoever waits for a turn gets it.
        queue = InferenceQueue(60, clock=FakeClock())
        backend = loaded(local(service).pipeline, queue)
        service = replace(service, clock=clock, backend=backend, slots=RequestSlots(16))
        return Slow(service, clock, detector)

    return make


def test_what_is_not_reached_in_time_is_left_for_the_next_request(
    make_slow: Callable[..., Slow],
) -> None:
    slow = make_slow(seconds=0.3, REQUEST_DEADLINE="1")
    answers = predict(client_of(slow.service), body([WIDE] * 40))
    # After the third there are 0.1 s left, and one takes 0.3 s.
    assert ["result" in answer for answer in answers] == [True] * 3 + [False] * 37
    assert "Not reached within 1 s" in answers[-1]["error"]


def test_one_task_and_every_typed_prompt_is_answered_however_long_it_takes(
    make_slow: Callable[..., Slow],
) -> None:
    slow = make_slow(seconds=1000, size=4, REQUEST_DEADLINE="1")
    fetcher = NamedFetcher(lambda _: slow.clock.pass_by(1000))
    client = client_of(replace(slow.service, fetcher=fetcher))
    for answer in predict(client, body([WIDE] * 9, typed("ring"))):
        assert status_of(answer["result"]).startswith("Found Ring")
    pre_annotated = predict(client, body([WIDE] * 9))
    reached = ["result" in answer for answer in pre_annotated]
    # Of the first batch, of four, also what was fetched when its first image was.
    assert reached[0]
    assert reached[4:] == [False] * 5


class NamedFetcher(Fetcher):
    """Has one image under every address, once `before` has been called with it.

    `times_left` is what it was given for each.
    """

    def __init__(self, before: Callable[[str], None]) -> None:
        super().__init__()
        self.times_left: list[float] = []
        self._before = before

    def fetch(
        self,
        uri: str,
        origin: Origin | None,
        task_id: int | None = None,
        time_left: float = math.inf,
    ) -> bytes:
        self.times_left.append(time_left)
        self._before(uri)
        return (SAMPLES / "wide.jpg").read_bytes()


def test_images_that_are_slow_to_come_do_not_hold_up_those_that_are_there(
    make_slow: Callable[..., Slow],
) -> None:
    slow, answered = make_slow(size=4, REQUEST_DEADLINE="60"), threading.Event()

    def third_never_comes(uri: str) -> None:
        if uri == "3":
            slow.clock.pass_by(61)
            answered.wait(WAIT_S)

    fetcher = NamedFetcher(third_never_comes)
    service = replace(slow.service, fetcher=fetcher)
    try:
        answers = predict(client_of(service), body([str(number) for number in range(1, 13)]))
    finally:
        answered.set()
    reached = ["result" in answer for answer in answers]
    # The second may have come after the time was over.
    assert reached in ([True] * count + [False] * (12 - count) for count in (1, 2))
    assert len(fetcher.times_left) <= 8, "no more than one batch is fetched ahead"
    assert all(left <= 60 for left in fetcher.times_left)


def test_what_was_found_is_drawn_while_slow_images_of_the_next_batch_are_fetched(
    make_slow: Callable[..., Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, drawn = make_slow(size=4), threading.Event()
    of_task = PredictionBuilder.of_task

    def note(self: PredictionBuilder, *arguments: Any) -> Any:
        drawn.set()
        return of_task(self, *arguments)

    def next_batch_comes_late(uri: str) -> None:
        if int(uri) >= 4 and not drawn.wait(WAIT_S):
            pytest.fail("what was found of the first batch waited for the second")

    monkeypatch.setattr(PredictionBuilder, "of_task", note)
    service = replace(slow.service, fetcher=NamedFetcher(next_batch_comes_late))
    answers = predict(client_of(service), body([str(number) for number in range(8)]))
    assert all("result" in answer for answer in answers)


def is_waiting(queue: InferenceQueue, callers: int) -> bool:
    return queue.waiting == callers


def test_a_typed_prompt_goes_before_pre_annotation_that_waits(
    make_slow: Callable[..., Slow],
) -> None:
    slow = make_slow(PREANNOTATE="labels")
    requests = [body([WIDE]), body([TALL]), body([WIDE], typed("ring"))]
    with ThreadPoolExecutor() as clients:
        with held(local(slow.service).queue):
            asked = []
            for number, request in enumerate(requests, start=1):
                asked.append(clients.submit(predict, client_of(slow.service), request))
                wait_until(partial(is_waiting, local(slow.service).queue, number))
        for one in asked:
            one.result()
    assert slow.detector.asked[0] == ["ring"]
    assert len(slow.detector.asked) == 3


def test_a_task_with_many_images_is_no_longer_a_batch(make_slow: Callable[..., Slow]) -> None:
    slow = make_slow(PREANNOTATE="labels", CACHE_BYTES="0")
    sides = [
        f'<Image name="{side}" value="${side}"/>'
        + RECTANGLES.replace('"label"', f'"label {side}"').replace('"image"', f'"{side}"')
        for side in ("left", "middle", "right")
    ]
    request = body([""], None, view(*sides))
    request["tasks"][0]["data"] = {"left": WIDE, "middle": WIDE, "right": WIDE}
    runs: list[int] = []
    pipeline = local(slow.service).pipeline
    run = pipeline.run

    def count(requests: Sequence[Request]) -> list[InferenceResult]:
        runs.append(len(requests))
        return run(requests)

    pipeline.run = count  # type: ignore[method-assign]
    [prediction] = predict(client_of(slow.service), request)
    assert {box["to_name"] for box in prediction["result"]} == {"left", "middle", "right"}
    assert runs == [1, 1, 1]


def test_what_is_there_is_sent_when_the_models_become_too_busy(
    make_fragile: Callable[..., Service],
) -> None:
    service = make_fragile(REQUEST_DEADLINE="60")
    busy = iter([False, True])
    run = local(service).queue.run

    def run_once(*arguments: Any, **named: Any) -> Any:
        if next(busy):
            raise NotReady("busy")
        return run(*arguments, **named)

    local(service).queue.run = run_once  # type: ignore[method-assign]
    answers = predict(client_of(service), body([WIDE] * 9))
    assert ["result" in answer for answer in answers] == [True] * 4 + [False] * 5


def test_nothing_more_is_done_for_a_caller_that_has_gone(
    make_fragile: Callable[..., Service],
) -> None:
    service = make_fragile()
    asked: list[int] = []
    pipeline = local(service).pipeline
    run = pipeline.run

    def count(requests: Sequence[Request]) -> list[InferenceResult]:
        asked.append(len(requests))
        return run(requests)

    pipeline.run = count  # type: ignore[method-assign]
    labeler = GroundedLabeler.bound_to(service)("1", TUTORIAL)
    with pytest.raises(CallerGone):
        labeler.predict(body([WIDE] * 12)["tasks"], cancelled=lambda: bool(asked))
    assert asked == [4]


def test_tiles_never_make_the_models_look_stuck(make_slow: Callable[..., Slow]) -> None:
    slow = make_slow(10, REQUEST_DEADLINE="10000", MODEL_DEADLINE="60", TILES="200")
    predict(client_of(slow.service), body([WIDE], typed("ring")))
    assert len(slow.detector.asked) == 2  # half of 60 seconds, and ten for the whole image


@pytest.mark.parametrize("context", [typed("ring"), None])
def test_tiles_are_looked_at_as_long_as_the_request_may_take(
    make_slow: Callable[..., Slow], context: dict[str, Any] | None
) -> None:
    slow = make_slow(10, REQUEST_DEADLINE="65", TILES="200", PREANNOTATE="labels")
    # Of ten seconds each: the whole image, and tiles until 65 are nearly over.
    [prediction] = predict(client_of(slow.service), body([WIDE], context))
    assert len(slow.detector.asked) == 6
    if context is not None:
        assert "with 5 of 12 tiles" in status_of(prediction["result"])
    else:
        assert prediction["result"]
