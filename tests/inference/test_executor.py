"""One batch at a time, a bounded queue, callers that go, work that never ends, a lost thread."""

import gc
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from queue import SimpleQueue

import pytest

from grounded_labeler.errors import CallerGone, NotReady
from grounded_labeler.inference.batching import Priority
from grounded_labeler.inference.executor import Executor
from tests.helpers.clocks import FakeClock
from tests.helpers.models_thread import WAIT_S, Work, call, held
from tests.helpers.serving import wait_until

TYPED, PRE = Priority.TYPED_PROMPT, Priority.PREANNOTATION


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_what_work_returns_or_raises_comes_back() -> None:
    executor = Executor(places=1, deadline=WAIT_S)
    assert call(executor, lambda: 7) == 7
    with pytest.raises(TimeoutError, match="its own"):
        call(executor, raise_timeout)
    assert call(executor, lambda: 8) == 8


def raise_timeout() -> None:
    raise TimeoutError("its own")


def test_all_work_is_done_by_one_thread() -> None:
    executor = Executor(places=9, deadline=WAIT_S)
    seen: list[int] = []
    callers = [
        threading.Thread(target=call, args=(executor, lambda: seen.append(threading.get_ident())))
        for _ in range(9)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(seen) == 9
    assert len(set(seen)) == 1
    assert threading.get_ident() not in seen


# Places


def test_places_are_shared_by_all_threads_and_given_back() -> None:
    executor = Executor(places=2, deadline=WAIT_S)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with executor.place():
            entered.set()
            leave.wait(WAIT_S)

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(WAIT_S)
    with executor.place(), pytest.raises(NotReady, match="Too many"), executor.place():
        pass
    leave.set()
    holder.join()
    with pytest.raises(KeyError), executor.place():
        raise KeyError
    with executor.place(), executor.place():
        pass


@pytest.mark.parametrize(("places", "for_all"), [(1, 1), (3, 3), (4, 3), (16, 12)])
def test_a_quarter_of_the_places_is_for_typed_prompts_alone(places: int, for_all: int) -> None:
    executor = Executor(places, deadline=WAIT_S)
    with ExitStack() as taken:
        for _ in range(for_all):
            taken.enter_context(executor.place(PRE))
        with pytest.raises(NotReady, match="Too many"):
            taken.enter_context(executor.place(PRE))
        for _ in range(places - for_all):
            taken.enter_context(executor.place(TYPED))
        with pytest.raises(NotReady, match="Too many"):
            taken.enter_context(executor.place(TYPED))
    with executor.place(PRE):
        pass


# Callers that leave, or wait too long


def test_work_of_a_caller_that_left_the_queue_is_never_begun() -> None:
    executor = Executor(places=2, deadline=WAIT_S)
    begun: list[str] = []
    with held(executor), pytest.raises(CallerGone):
        call(executor, lambda: begun.append("late"), cancelled=lambda: executor.waiting > 0)
    call(executor, lambda: begun.append("next"))
    assert begun == ["next"]


def test_the_wait_for_a_turn_has_an_end(clock: FakeClock) -> None:
    executor = Executor(places=2, deadline=WAIT_S, clock=clock)

    def time_goes_by() -> bool:
        clock.pass_by(1)
        return False

    with held(executor), pytest.raises(NotReady, match="busy"):
        call(executor, lambda: "late", time_goes_by, patience=2)
    assert executor.waiting == 0
    assert call(executor, lambda: "in time", patience=2) == "in time"


def test_work_that_has_begun_is_waited_for_however_long_it_takes(clock: FakeClock) -> None:
    executor, work = Executor(places=2, deadline=WAIT_S, clock=clock), Work()

    def time_goes_by_at_work() -> bool:
        if work.begun.is_set():
            clock.pass_by(3)
            if clock.now > 1010:
                work.end.set()
        return False

    assert call(executor, work, time_goes_by_at_work, patience=2) == "done"
    assert clock.now > 1010


def test_a_caller_that_leaves_is_not_waited_with() -> None:
    executor, work = Executor(places=1, deadline=WAIT_S), Work()
    try:
        with pytest.raises(CallerGone):
            call(executor, work, cancelled=work.begun.is_set)
    finally:
        work.end.set()


# What is held


class Picture:
    pass


def test_what_work_held_is_let_go_of_when_its_caller_leaves_the_queue() -> None:
    executor = Executor(places=2, deadline=WAIT_S)
    with held(executor):
        picture = Picture()
        seen = weakref.ref(picture)
        with pytest.raises(CallerGone):
            call(executor, _holding(picture), cancelled=lambda: executor.waiting > 0)
        del picture
        gc.collect()
        assert seen() is None


def _holding(picture: Picture) -> Callable[[], Picture]:
    return lambda: picture


def test_what_work_held_is_let_go_of_when_it_fails() -> None:
    def fail(picture: Picture) -> None:
        raise MemoryError

    executor = Executor(places=2, deadline=WAIT_S)
    picture = Picture()
    seen = weakref.ref(picture)
    gc.disable()  # or it might only be found in a cycle
    try:
        with suppress(MemoryError):
            call(executor, partial(fail, picture))
        del picture
        call(executor, lambda: None)
        assert seen() is None
    finally:
        gc.enable()


# Stuck


def test_work_past_its_deadline_is_stuck_and_stops_everything(clock: FakeClock) -> None:
    executor = Executor(places=3, deadline=5, clock=clock)
    assert executor.stuck_seconds is None
    with held(executor) as work:
        clock.pass_by(5)
        assert executor.stuck_seconds is None
        clock.pass_by(1)
        assert executor.stuck_seconds == 6
        with pytest.raises(NotReady, match="for 6 s: restart"), executor.place():
            pass
        with pytest.raises(NotReady, match="restart"):
            call(executor, lambda: 1)
        work.end.set()
        wait_until(lambda: executor.stuck_seconds is None)
    with executor.place():
        assert call(executor, lambda: 1) == 1


def test_each_batch_has_the_deadline_anew(clock: FakeClock) -> None:
    executor = Executor(places=3, deadline=5, clock=clock)
    for _ in range(3):
        call(executor, lambda: clock.pass_by(4))
        assert executor.stuck_seconds is None


# Idle


def test_whenever_nothing_comes_for_a_while_memory_is_given_back_once() -> None:
    idle = SimpleQueue[str]()
    executor = Executor(1, WAIT_S, lambda: idle.put("idle"), idle_seconds=0)
    for _ in range(20):
        assert idle.get(timeout=WAIT_S) == "idle"
        call(executor, lambda: None)
    assert idle.get(timeout=WAIT_S) == "idle"
    call(executor, lambda: idle.put("end"))
    assert idle.get(timeout=WAIT_S) == "end"  # and not once more before it


def test_memory_is_not_given_back_while_there_is_work() -> None:
    idle = threading.Event()
    executor = Executor(1, WAIT_S, idle.set, idle_seconds=WAIT_S)
    for _ in range(20):
        call(executor, lambda: None)
    assert not idle.is_set()


def test_the_thread_outlives_a_failure_to_give_memory_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried = SimpleQueue[None]()

    def fail() -> None:
        tried.put(None)
        raise OSError("no /proc here")

    executor = Executor(1, WAIT_S, fail, idle_seconds=0)
    for number in range(3):
        tried.get(timeout=WAIT_S)
        assert call(executor, partial(int, number)) == number
    assert not executor.is_lost
    assert caplog.text.count("Memory could not be given back") >= 3
    assert "no /proc here" in caplog.text


def void(work: Work) -> None:
    work()


def test_giving_memory_back_for_ever_is_stuck_too(clock: FakeClock) -> None:
    work = Work()
    executor = Executor(1, 5, lambda: void(work), idle_seconds=0, clock=clock)
    assert work.begun.wait(WAIT_S)
    clock.pass_by(6)
    with pytest.raises(NotReady, match="restart"):
        call(executor, lambda: 1)
    work.end.set()


# Lost

ends_the_thread = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@ends_the_thread
def test_a_thread_that_has_ended_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    executor = Executor(1, WAIT_S, end_the_thread, idle_seconds=0)
    wait_until(lambda: executor.is_lost)
    for ask in (executor.refuse_if_stuck, lambda: call(executor, lambda: 1)):
        with pytest.raises(NotReady, match="has ended: restart"):
            ask()
    with pytest.raises(NotReady, match="has ended"), executor.place():
        pass
    assert "The thread that runs the models has ended" in caplog.text


def end_the_thread() -> None:
    raise SystemExit


@ends_the_thread
def test_whoever_waits_when_the_thread_ends_is_told() -> None:
    waits = threading.Event()

    def end_when_somebody_waits() -> None:
        assert waits.wait(WAIT_S)
        wait_until(lambda: executor.waiting > 0)
        raise SystemExit

    executor = Executor(1, WAIT_S, end_when_somebody_waits, idle_seconds=0)
    waits.set()
    with pytest.raises(NotReady, match="has ended"):
        call(executor, lambda: 1)
