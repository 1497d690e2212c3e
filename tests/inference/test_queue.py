"""One batch at a time, a bounded queue, callers that go, work that never ends, a lost thread."""

import gc
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue

import pytest

from grounded_labeler.errors import CallerGone, NotReady
from grounded_labeler.inference.backend import Priority
from grounded_labeler.inference.queue import InferenceQueue
from tests.helpers.clocks import FakeClock
from tests.helpers.models_thread import WAIT_S, Work, call, held
from tests.helpers.serving import wait_until

TYPED, PRE = Priority.TYPED_PROMPT, Priority.PREANNOTATION


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_what_work_returns_or_raises_comes_back() -> None:
    queue = InferenceQueue(deadline_s=WAIT_S)
    assert call(queue, lambda: 7) == 7
    with pytest.raises(TimeoutError, match="its own"):
        call(queue, raise_timeout)
    assert call(queue, lambda: 8) == 8


def raise_timeout() -> None:
    raise TimeoutError("its own")


def test_all_work_is_done_by_one_thread() -> None:
    queue = InferenceQueue(deadline_s=WAIT_S)
    seen: list[int] = []
    callers = [
        threading.Thread(target=call, args=(queue, lambda: seen.append(threading.get_ident())))
        for _ in range(9)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(seen) == 9
    assert len(set(seen)) == 1
    assert threading.get_ident() not in seen


# Callers that leave, or wait too long


def test_work_of_a_caller_that_left_the_queue_is_never_begun() -> None:
    queue = InferenceQueue(deadline_s=WAIT_S)
    begun: list[str] = []
    with held(queue), pytest.raises(CallerGone):
        call(queue, lambda: begun.append("late"), cancelled=lambda: queue.waiting > 0)
    call(queue, lambda: begun.append("next"))
    assert begun == ["next"]


def test_the_wait_for_a_turn_has_an_end(clock: FakeClock) -> None:
    queue = InferenceQueue(deadline_s=WAIT_S, clock=clock)

    def time_goes_by() -> bool:
        clock.pass_by(1)
        return False

    with held(queue), pytest.raises(NotReady, match="busy"):
        call(queue, lambda: "late", time_goes_by, timeout_s=2)
    assert queue.waiting == 0
    assert call(queue, lambda: "in time", timeout_s=2) == "in time"


def test_work_that_has_begun_is_waited_for_however_long_it_takes(clock: FakeClock) -> None:
    queue, work = InferenceQueue(deadline_s=WAIT_S, clock=clock), Work()

    def time_goes_by_at_work() -> bool:
        if work.begun.is_set():
            clock.pass_by(3)
            if clock.now > 1010:
                work.end.set()
        return False

    assert call(queue, work, time_goes_by_at_work, timeout_s=2) == "done"
    assert clock.now > 1010


def test_a_caller_that_leaves_is_not_waited_with() -> None:
    queue, work = InferenceQueue(deadline_s=WAIT_S), Work()
    try:
        with pytest.raises(CallerGone):
            call(queue, work, cancelled=work.begun.is_set)
    finally:
        work.end.set()


# What is held


class DecodedImage:
    pass


def test_what_work_held_is_let_go_of_when_its_caller_leaves_the_queue() -> None:
    queue = InferenceQueue(deadline_s=WAIT_S)
    with held(queue):
        image = DecodedImage()
        seen = weakref.ref(image)
        with pytest.raises(CallerGone):
            call(queue, _holding(image), cancelled=lambda: queue.waiting > 0)
        del image
        gc.collect()
        assert seen() is None


def _holding(image: DecodedImage) -> Callable[[], DecodedImage]:
    return lambda: image


def test_what_work_held_is_let_go_of_when_it_fails() -> None:
    def fail(image: DecodedImage) -> None:
        raise MemoryError

    queue = InferenceQueue(deadline_s=WAIT_S)
    image = DecodedImage()
    seen = weakref.ref(image)
    gc.disable()  # or it might only be found in a cycle
    try:
        with suppress(MemoryError):
            call(queue, partial(fail, image))
        del image
        call(queue, lambda: None)
        assert seen() is None
    finally:
        gc.enable()


# Stuck


def test_work_past_its_deadline_is_stuck_and_stops_everything(clock: FakeClock) -> None:
    queue = InferenceQueue(deadline_s=5, clock=clock)
    assert queue.stuck_seconds is None
    with held(queue) as work:
        clock.pass_by(5)
        assert queue.stuck_seconds is None
        clock.pass_by(1)
        assert queue.stuck_seconds == 6
        with pytest.raises(NotReady, match=r"for 6 s .* restart"):
            queue.check()
        with pytest.raises(NotReady, match="restart"):
            call(queue, lambda: 1)
        work.end.set()
        wait_until(lambda: queue.stuck_seconds is None)
    queue.check()
    assert call(queue, lambda: 1) == 1


def test_each_batch_has_the_deadline_anew(clock: FakeClock) -> None:
    queue = InferenceQueue(deadline_s=5, clock=clock)
    for _ in range(3):
        call(queue, lambda: clock.pass_by(4))
        assert queue.stuck_seconds is None


# Idle


def test_whenever_nothing_comes_for_a_while_memory_is_given_back_once() -> None:
    idle = SimpleQueue[str]()
    queue = InferenceQueue(WAIT_S, lambda: idle.put("idle"), idle_seconds=0)
    for _ in range(20):
        assert idle.get(timeout=WAIT_S) == "idle"
        call(queue, lambda: None)
    assert idle.get(timeout=WAIT_S) == "idle"
    call(queue, lambda: idle.put("end"))
    assert idle.get(timeout=WAIT_S) == "end"  # and not once more before it


def test_memory_is_not_given_back_while_there_is_work() -> None:
    idle = threading.Event()
    queue = InferenceQueue(WAIT_S, idle.set, idle_seconds=WAIT_S)
    for _ in range(20):
        call(queue, lambda: None)
    assert not idle.is_set()


def test_the_thread_outlives_a_failure_to_give_memory_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried = SimpleQueue[None]()

    def fail() -> None:
        tried.put(None)
        raise OSError("no /proc here")

    queue = InferenceQueue(WAIT_S, fail, idle_seconds=0)
    for number in range(3):
        tried.get(timeout=WAIT_S)
        assert call(queue, partial(int, number)) == number
    assert not queue.is_lost
    assert caplog.text.count("Memory could not be freed") >= 3
    assert "no /proc here" in caplog.text


def void(work: Work) -> None:
    work()


def test_giving_memory_back_for_ever_is_stuck_too(clock: FakeClock) -> None:
    work = Work()
    queue = InferenceQueue(5, lambda: void(work), idle_seconds=0, clock=clock)
    assert work.begun.wait(WAIT_S)
    clock.pass_by(6)
    with pytest.raises(NotReady, match="restart"):
        call(queue, lambda: 1)
    work.end.set()


# Lost

ends_the_thread = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@ends_the_thread
def test_a_thread_that_has_ended_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    queue = InferenceQueue(WAIT_S, end_the_thread, idle_seconds=0)
    wait_until(lambda: queue.is_lost)
    for ask in (queue.check, lambda: call(queue, lambda: 1)):
        with pytest.raises(NotReady, match="has ended: restart"):
            ask()
    assert "The thread that runs the models has ended" in caplog.text


def end_the_thread() -> None:
    raise SystemExit


@ends_the_thread
def test_whoever_waits_when_the_thread_ends_is_told() -> None:
    waits = threading.Event()

    def end_when_somebody_waits() -> None:
        assert waits.wait(WAIT_S)
        wait_until(lambda: queue.waiting > 0)
        raise SystemExit

    queue = InferenceQueue(WAIT_S, end_when_somebody_waits, idle_seconds=0)
    waits.set()
    with pytest.raises(NotReady, match="has ended"):
        call(queue, lambda: 1)
