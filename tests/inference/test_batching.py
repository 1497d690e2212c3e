"""Who goes first, who shares a batch, and each caller gets its own results as soon as they are."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from grounded_labeler.errors import CallerGone
from grounded_labeler.inference.backend import Priority, never_cancelled
from grounded_labeler.inference.batching import AnyWorkItem, BatchQueue, WorkItem
from grounded_labeler.inference.queue import InferenceQueue
from tests.helpers.clocks import FakeClock
from tests.helpers.models_thread import WAIT_S, Calls, Work, held
from tests.helpers.serving import wait_until

TYPED, PRE = Priority.TYPED_PROMPT, Priority.PREANNOTATION
ONE_BY_ONE, EIGHT = Calls(1), Calls(8)


# The queue alone


def put(queue: BatchQueue, models: Calls, *items: tuple[Priority, int]) -> list[AnyWorkItem]:
    """Items of so many jobs each."""
    made = [WorkItem(models, [str] * jobs, priority) for priority, jobs in items]
    for item in made:
        queue.put(item)
    return made


def taken(queue: BatchQueue, among: Sequence[AnyWorkItem]) -> list[list[int]]:
    """All batches, as the places of their items in `among`."""
    batches = []
    while len(queue):
        batches.append([among.index(item) for item in queue.take(0)])
    return batches


@pytest.mark.parametrize("older", [1, 2, 7])
def test_typed_prompts_go_before_all_pre_annotation_that_waits(older: int) -> None:
    queue = BatchQueue(most_overtakes=16)
    items = put(queue, ONE_BY_ONE, *[(PRE, 1)] * older, *[(TYPED, 1)] * 3, (PRE, 1))
    typed = [[older], [older + 1], [older + 2]]
    assert taken(queue, items) == [*typed, *([i] for i in range(older)), [older + 3]]


def test_priorities_are_in_the_order_of_who_waits() -> None:
    clicks = [Priority.FURTHER_CLICK, Priority.CLICK]
    assert sorted(Priority) == [*clicks, TYPED, PRE, Priority.ENCODE_AHEAD]


@pytest.mark.parametrize(
    ("items", "batches"),
    [
        # Typed prompts share a batch, and take along what fits.
        ([(PRE, 2), (TYPED, 1), (TYPED, 1), (PRE, 4)], [[1, 2, 0, 3]]),
        # A whole batch of pre-annotation does not fit: the annotator waits for one image only.
        ([(PRE, 8), (TYPED, 1), (TYPED, 2)], [[1, 2], [0]]),
        # What does not fit keeps its turn; what does goes along.
        ([(PRE, 6), (PRE, 3), (PRE, 2)], [[0, 2], [1]]),
        # More jobs than a batch has room for are one caller's all the same.
        ([(PRE, 20), (TYPED, 9), (PRE, 1)], [[1], [0], [2]]),
    ],
)
def test_a_batch_is_filled_in_the_same_order(
    items: Sequence[tuple[Priority, int]], batches: list[list[int]]
) -> None:
    queue = BatchQueue(most_overtakes=16)
    assert taken(queue, put(queue, EIGHT, *items)) == batches


def test_jobs_for_other_models_are_another_batch() -> None:
    queue = BatchQueue(most_overtakes=16)
    items = [
        *put(queue, EIGHT, (PRE, 1)),
        *put(queue, Calls(8), (PRE, 1)),
        *put(queue, EIGHT, (PRE, 1)),
    ]
    assert taken(queue, items) == [[0, 2], [1]]


def test_annotators_who_never_pause_starve_nobody() -> None:
    queue = BatchQueue(most_overtakes=3)
    older = put(queue, ONE_BY_ONE, (PRE, 1), (PRE, 1))
    order = []
    for _ in range(8):
        put(queue, ONE_BY_ONE, (TYPED, 1))
        [item] = queue.take(0)
        order.append(older.index(item) if item in older else "typed")
    assert order == ["typed", "typed", "typed", 0, "typed", "typed", "typed", 1]


def test_those_of_a_batch_that_failed_keep_their_turn_and_are_alone() -> None:
    queue = BatchQueue(most_overtakes=16)
    first = put(queue, EIGHT, (PRE, 1), (PRE, 1))
    queue.put_back(queue.take(0))
    later = put(queue, EIGHT, (PRE, 1), (PRE, 1), (TYPED, 1))
    assert taken(queue, [*first, *later]) == [[4, 2, 3], [0], [1]]


def test_nothing_comes_and_what_leaves_is_not_taken() -> None:
    queue = BatchQueue(most_overtakes=16)
    assert queue.take(0) == []
    one, other = put(queue, EIGHT, (PRE, 1), (PRE, 1))
    assert queue.leave(one)
    assert not queue.leave(one)
    assert queue.take(None) == [other]


# With the models' thread


class Callers:
    """Callers who wait while the models' thread is held, and then are let go."""

    def __init__(self, batch_size: int) -> None:
        self.models = Calls(batch_size)
        self.clock = FakeClock()
        self.queue = InferenceQueue(deadline_s=WAIT_S, clock=self.clock)
        self._pool = ThreadPoolExecutor(16)

    def queue_up(
        self,
        *jobs: Callable[[], Any],
        priority: Priority = PRE,
        timeout_s: float = WAIT_S,
        cancelled: Callable[[], bool] = never_cancelled,
    ) -> "Future[list[Any]]":
        """The results of one more caller, who waits in the queue by now."""
        waiting = self.queue.waiting
        results = self._pool.submit(
            self.queue.run, self.models, jobs, cancelled, timeout_s, priority
        )
        wait_until(lambda: self.queue.waiting > waiting)
        return results


def test_each_caller_gets_the_results_of_its_own_jobs() -> None:
    callers = Callers(8)
    with held(callers.queue):
        asked = [callers.queue_up(*[lambda n=n: n] * jobs) for n, jobs in enumerate((1, 2, 1, 4))]
    assert [one.result(WAIT_S) for one in asked] == [[0], [1, 1], [2], [3, 3, 3, 3]]
    assert callers.models.batches == [8]


def test_a_typed_prompt_goes_before_what_waits_and_after_what_runs() -> None:
    callers, order = Callers(1), list[str]()
    with held(callers.queue) as running:
        asked = [
            callers.queue_up(lambda: order.append("old")),
            callers.queue_up(lambda: order.append("new")),
            callers.queue_up(lambda: order.append("typed"), priority=TYPED),
        ]
        assert not order
        running.end.set()
        for one in asked:
            one.result(WAIT_S)
    assert order == ["typed", "old", "new"]


def test_who_shared_a_batch_is_answered_with_it_and_not_at_an_own_turn() -> None:
    callers, long = Callers(2), Work()
    with held(callers.queue):
        first = callers.queue_up(lambda: 1)
        behind = callers.queue_up(long, lambda: 2)  # fills a batch of its own
        rider = callers.queue_up(lambda: 3)
    assert long.begun.wait(WAIT_S)
    try:
        assert [first.result(WAIT_S), rider.result(WAIT_S)] == [[1], [3]]
        assert not behind.done()
    finally:
        long.end.set()
    assert behind.result(WAIT_S) == ["done", 2]


def wait_for_two(looks: threading.Semaphore) -> None:
    """Wait until a caller has looked twice from now on: then it has seen what the time is."""
    while looks.acquire(blocking=False):
        pass
    for _ in range(2):
        assert looks.acquire(timeout=WAIT_S)


def test_who_shares_a_batch_at_work_is_not_refused_for_waiting_too_long() -> None:
    callers, long = Callers(2), Work()
    looks = threading.Semaphore(0)

    def looked() -> bool:
        looks.release()
        return False

    with held(callers.queue):
        first = callers.queue_up(long)
        rider = callers.queue_up(lambda: 3, timeout_s=5, cancelled=looked)
    assert long.begun.wait(WAIT_S)
    callers.clock.pass_by(6)
    wait_for_two(looks)
    long.end.set()
    assert [first.result(WAIT_S), rider.result(WAIT_S)] == [["done"], [3]]


def test_who_is_done_again_after_a_failed_batch_is_not_refused_either() -> None:
    callers, long, failed = Callers(2), Work(), list[bool]()
    looks = threading.Semaphore(0)

    def looked() -> bool:
        looks.release()
        return False

    def fail_once() -> str:
        if not failed:
            failed.append(True)
            raise RuntimeError("together")
        return long()

    with held(callers.queue):
        first = callers.queue_up(fail_once)
        rider = callers.queue_up(lambda: 3, timeout_s=5, cancelled=looked)
    assert long.begun.wait(WAIT_S)  # alone by now, and the rider waits for its own turn
    callers.clock.pass_by(6)
    wait_for_two(looks)
    long.end.set()
    assert [first.result(WAIT_S), rider.result(WAIT_S)] == [["done"], [3]]


def test_a_job_that_fails_takes_no_other_caller_with_it() -> None:
    def fail() -> None:
        raise RuntimeError("thirteen")

    callers = Callers(8)
    with held(callers.queue):
        first, second, third = (callers.queue_up(job) for job in (lambda: 1, fail, lambda: 3))
    assert [first.result(WAIT_S), third.result(WAIT_S)] == [[1], [3]]
    assert isinstance(second.exception(WAIT_S), RuntimeError)
    assert callers.models.batches == [3, 1, 1, 1]


def test_a_typed_prompt_need_not_wait_for_a_failed_batch_to_be_done_again() -> None:
    callers, order, failed = Callers(8), list[str](), list[bool]()

    def fail_once() -> None:
        if not failed:
            failed.append(True)
            typed.append(callers.queue_up(lambda: order.append("typed"), priority=TYPED))
            raise RuntimeError("together")
        order.append("old")

    typed: list[Future[list[Any]]] = []
    with held(callers.queue):
        asked = [callers.queue_up(fail_once), callers.queue_up(lambda: order.append("new"))]
    for one in [*asked, *typed]:
        one.result(WAIT_S)
    assert order == ["typed", "old", "new"]


def test_callers_that_left_are_not_worked_for() -> None:
    callers = Callers(8)
    gone = threading.Event()
    with held(callers.queue):
        left = callers.queue_up(lambda: 1, cancelled=gone.is_set)
        gone.set()
        assert isinstance(left.exception(WAIT_S), CallerGone)
        stayed = callers.queue_up(lambda: 2)
    assert stayed.result(WAIT_S) == [2]
    assert callers.models.batches == [1]
