"""The real server under load: its health, a whole project at once, more callers than places."""

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.conftest import RecordFigure
from tests.helpers.asking import IMAGE, PROMPT, RECTANGLES, body, view
from tests.helpers.serving import (
    BOXES,
    BUSY,
    KINDS,
    Server,
    assert_right,
    drawn,
    is_right,
    served,
    status,
    wait_until,
)

pytestmark = pytest.mark.slow

TASKS, FEWER_TASKS = 1200, 100  # with and without --soak
DEADLINE_S = 3
# On no machine are these tasks done within the deadline.
SLOW = BOXES.replace('value="Square"', 'value="Square" prompt="square, sleep 0.05"')
CALLERS, THREADS = 64, 8
Answer = tuple[requests.Response, float]  # and how many seconds it took
WITHOUT_STATUS = view(PROMPT, IMAGE, RECTANGLES)


def kind_of(task: dict[str, Any]) -> str:
    """What is drawn in the image of a task of `whole_project`."""
    return KINDS[int(task["id"]) % len(KINDS)]


@pytest.fixture(scope="module")
def whole_project(soak: bool) -> dict[str, Any]:
    """What Label Studio sends of a project without predictions."""
    images = {kind: drawn(kind) for kind in KINDS}
    request = body([], None, SLOW)
    request["tasks"] = [
        {"id": i, "data": {"image": images[kind_of({"id": i})]}}
        for i in range(TASKS if soak else FEWER_TASKS)
    ]
    return request


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("service")
    # Nothing is kept: the project's few images would all be known after the first few tasks.
    settings = {"REQUEST_DEADLINE": str(DEADLINE_S), "CACHE_BYTES": "0"}
    with served(folder, **settings) as server:
        yield server


def test_health_is_answered_while_the_models_work(
    server: Server, whole_project: dict[str, Any], record_figure: RecordFigure
) -> None:
    enough = threading.Event()

    def keep_the_models_working() -> None:
        while not enough.is_set():
            assert server.post("/predict", whole_project).status_code == 200

    with ThreadPoolExecutor() as clients:
        working = clients.submit(keep_the_models_working)
        seconds = []
        try:
            wait_until(lambda: "task 0: " in server.log)
            for _ in range(50):
                start = time.monotonic()
                assert server.get("/health").status_code == 200
                seconds.append(time.monotonic() - start)
        finally:
            enough.set()
        working.result()
    median, longest = (1000 * figure(seconds) for figure in (statistics.median, max))
    figures = f"median {median:.1f} ms, longest {longest:.1f} ms of 50"
    record_figure("/health while the models work", figures)


def test_every_task_of_a_large_project_gets_one_answer_in_several_requests(
    server: Server, whole_project: dict[str, Any], record_figure: RecordFigure
) -> None:
    tasks = len(whole_project["tasks"])
    left, versions, rounds = whole_project["tasks"], set(), []
    while left:
        begin = time.monotonic()
        answer = server.post("/predict", whole_project | {"tasks": left})
        seconds = time.monotonic() - begin
        assert answer.status_code == 200, answer.text
        predictions = answer.json()["results"]
        assert len(predictions) == len(left)

        answered = ["result" in prediction for prediction in predictions]
        count = sum(answered)
        assert count > 0
        assert answered == [True] * count + [False] * (len(left) - count)  # in order
        for task, prediction in zip(left, predictions, strict=True):
            versions.add(prediction["model_version"])
            if "result" in prediction:
                assert is_right(prediction, kind_of(task)), (task["id"], prediction)
            else:
                assert prediction["error"].startswith(f"Not reached within {DEADLINE_S} s")
        left = left[count:]
        rounds.append((count, round(seconds, 2)))
    longest = max(seconds for _, seconds in rounds)
    record_figure(
        f"{tasks} tasks, deadline {DEADLINE_S} s",
        f"{len(rounds)} requests, the longest {longest:.1f} s, one answer for each task",
    )
    assert len(rounds) > 1, rounds
    assert len(versions) == 1, versions  # else Label Studio would ask for all again


@pytest.fixture(scope="module")
def faulty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("service"), THREADS=str(THREADS)) as server:
        yield server


def test_each_of_many_callers_is_answered_or_told_to_come_back(
    faulty_server: Server, record_figure: RecordFigure
) -> None:
    faulty_server.hold()  # until some are refused: they do not come all at once
    with ThreadPoolExecutor(CALLERS) as clients:
        asking = [clients.submit(faulty_server.ask, "square. wait") for _ in range(CALLERS)]
        try:
            wait_until(lambda: any(caller.done() for caller in asking))
        finally:
            faulty_server.go_on()
        answers = [caller.result() for caller in asking]
    right = [answer for answer in answers if is_right(answer.json()["results"][0])]
    refused = [answer for answer in answers if answer not in right]
    assert all(status(answer).startswith(BUSY) for answer in refused)
    assert len(right) >= THREADS
    assert refused  # else there were not too many
    record_figure(
        f"{CALLERS} prompts at once, THREADS={THREADS}",
        f"{len(right)} right, {len(refused)} told to come back",
    )


def done(asking: Sequence["Future[Answer]"]) -> list["Future[Answer]"]:
    return [caller for caller in asking if caller.done()]


def test_those_refused_learn_it_while_the_others_are_still_being_answered(
    faulty_server: Server, record_figure: RecordFigure
) -> None:
    def ask(number: int) -> Answer:
        start = time.monotonic()
        answer = faulty_server.ask("square. hang", config=WITHOUT_STATUS)
        return answer, time.monotonic() - start

    with ThreadPoolExecutor(CALLERS) as clients:
        asking = [clients.submit(ask, number) for number in range(CALLERS)]
        try:
            wait_until(lambda: len(done(asking)) >= CALLERS - THREADS)
            assert len(done(asking)) == CALLERS - THREADS  # the others hang
        finally:
            faulty_server.release()
        answers = [caller.result() for caller in asking]
    refused = [(answer, seconds) for answer, seconds in answers if answer.status_code == 503]
    assert len(refused) == CALLERS - THREADS
    for answer, _ in refused:
        assert int(answer.headers["Retry-After"]) > 0
        assert BUSY in answer.json()["error"]
    slowest = max(seconds for _, seconds in refused)
    record_figure("the slowest refusal with 503", f"{slowest:.3f} s")
    for answer, _ in answers:
        if answer.status_code != 503:
            assert_right(answer)
