"""Callers who wait at the same time, answered together: counted, and the answers their own."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from grounded_labeler.batching import Batcher
from grounded_labeler.errors import CallerGone
from grounded_labeler.executor import Executor, always_there
from grounded_labeler.pipeline import Found, Job, Pipeline, Thresholds
from grounded_labeler.prompt import parse_prompt
from grounded_labeler.structures import Candidates, Picture

LIMITS = Thresholds(box=0.3, text=0.25, nms=0.7, max_regions=10)
WAIT_S = 20


class Wide:
    """One box as wide as the picture; pictures 13 pixels high are too much for it."""

    device = "cpu"

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.batches: list[list[int]] = []

    def detect(
        self, pictures: Sequence[Picture], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        widths = [picture.pixels.shape[1] for picture in pictures]
        self.batches.append(widths)
        if any(picture.pixels.shape[0] == 13 for picture in pictures):
            raise RuntimeError("thirteen")
        score = np.ones((1, 1), np.float32)
        boxes = [np.array([[0, 0, width, 8]], np.float32) for width in widths]
        return [Candidates(box, score, score, np.zeros(1, np.intp)) for box in boxes]


def job(width: int, height: int = 10) -> Job:
    picture = Picture.of(np.zeros((height, width, 3), np.uint8))
    return Job(picture, parse_prompt("a", ()), (), LIMITS, with_masks=False)


class Waiting:
    """Callers who wait while the models' thread is held, and then are let go."""

    def __init__(self, batch_size: int) -> None:
        self.detector = Wide(batch_size)
        self.pipeline = Pipeline(self.detector, None)
        self.executor = Executor(places=16, deadline=60)
        self.batcher = Batcher(self.executor)

    @contextmanager
    def held(self) -> Iterator[None]:
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            release.wait(WAIT_S)

        holder = threading.Thread(target=self.executor.run, args=(hold,))
        holder.start()
        assert held.wait(WAIT_S)
        yield
        release.set()
        holder.join(WAIT_S)

    def answers(self, *asked: list[Job]) -> list[list[float] | Exception]:
        """Each caller's widths, or what was raised; they queue up in order."""

        def ask(jobs: list[Job]) -> list[float] | Exception:
            try:
                found: list[Found] = self.batcher.run(self.pipeline, jobs, always_there, WAIT_S)
            except RuntimeError as error:
                return error
            return [float(one.detections.boxes[0, 2]) for one in found]

        with ThreadPoolExecutor(len(asked)) as pool:
            with self.held():
                futures = []
                for number, jobs in enumerate(asked, start=1):
                    futures.append(pool.submit(ask, jobs))
                    while self.executor.waiting < number:
                        assert not futures[-1].done()
            return [future.result(WAIT_S) for future in futures]


@pytest.mark.parametrize(
    ("batch_size", "batches"),
    [
        (8, [[10, 20, 30, 40, 50]]),
        (3, [[10, 20, 30], [40, 50]]),
        (2, [[10, 40], [20, 30], [50]]),
        (1, [[10], [20, 30], [40], [50]]),
    ],
)
def test_those_who_wait_share_batches_and_get_their_own_answers(
    batch_size: int, batches: list[list[int]]
) -> None:
    waiting = Waiting(batch_size)
    answers = waiting.answers([job(10)], [job(20), job(30)], [job(40)], [job(50)])
    assert answers == [[10.0], [20.0, 30.0], [40.0], [50.0]]
    assert waiting.detector.batches == batches


def test_a_job_that_fails_takes_no_other_caller_with_it() -> None:
    waiting = Waiting(8)
    first, second, third = waiting.answers([job(10)], [job(20, height=13)], [job(30)])
    assert (first, third) == ([10.0], [30.0])
    assert isinstance(second, RuntimeError)
    assert waiting.detector.batches == [[10, 20, 30], [10], [20], [30]]


def test_callers_that_left_are_not_worked_for() -> None:
    waiting = Waiting(8)
    with waiting.held(), pytest.raises(CallerGone):
        waiting.batcher.run(waiting.pipeline, [job(10)], lambda: True, WAIT_S)
    assert waiting.answers([job(20)]) == [[20.0]]
    assert waiting.detector.batches == [[20]]
