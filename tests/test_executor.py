"""One piece of work at a time, a bounded queue, callers that go, work that never ends."""

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

import pytest

from grounded_labeler.errors import CallerGone, NotReady
from grounded_labeler.executor import Executor


class Work:
    """Something to do that ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.end = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.end.wait(10)
        return "done"


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.end.set()  # else its thread would keep the tests from ending


def in_background(executor: Executor, work: Work) -> threading.Thread:
    def run() -> None:
        with suppress(NotReady):
            executor.run(work)

    thread = threading.Thread(target=run)
    thread.start()
    assert work.begun.wait(10)
    return thread


def test_what_work_returns_or_raises_comes_back() -> None:
    executor = Executor(places=1, deadline=10)
    assert executor.run(lambda: 7) == 7
    with pytest.raises(TimeoutError, match="its own"):
        executor.run(raise_timeout)
    assert executor.run(lambda: 8) == 8


def raise_timeout() -> None:
    raise TimeoutError("its own")


def test_all_work_is_done_by_one_thread() -> None:
    executor = Executor(places=9, deadline=10)
    seen: list[int] = []
    callers = [
        threading.Thread(target=executor.run, args=(lambda: seen.append(threading.get_ident()),))
        for _ in range(9)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(seen) == 9
    assert len(set(seen)) == 1
    assert threading.get_ident() not in seen


def test_places_are_shared_by_all_threads_and_given_back() -> None:
    executor = Executor(places=2, deadline=10)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with executor.place():
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(10)
    with executor.place(), pytest.raises(NotReady, match="Too many"), executor.place():
        pass
    leave.set()
    holder.join()
    with pytest.raises(KeyError), executor.place():
        raise KeyError
    with executor.place(), executor.place():
        pass


def test_work_of_a_caller_that_left_the_queue_is_never_begun(work: Work) -> None:
    executor = Executor(places=2, deadline=10)
    first = in_background(executor, work)
    begun: list[str] = []
    with pytest.raises(CallerGone):
        executor.run(lambda: begun.append("late"), is_gone=lambda: executor.waiting > 0)
    work.end.set()
    first.join()
    executor.run(lambda: begun.append("next"))
    assert begun == ["next"]


def test_the_wait_for_a_turn_has_an_end_and_work_that_has_begun_does_not(work: Work) -> None:
    executor = Executor(places=2, deadline=10)
    first = in_background(executor, work)
    with pytest.raises(NotReady, match="busy"):
        executor.run(lambda: "late", patience=0.1)
    ended = threading.Timer(0.6, work.end.set)
    ended.start()
    assert executor.run(lambda: "in time", patience=10) == "in time"
    first.join()
    slow = Work()
    threading.Timer(0.6, slow.end.set).start()
    assert executor.run(slow, patience=0.1) == "done"


def test_what_work_held_is_let_go_of_when_its_caller_leaves_the_queue(work: Work) -> None:
    class Picture:
        pass

    executor = Executor(places=2, deadline=10)
    first = in_background(executor, work)
    picture = Picture()
    seen = weakref.ref(picture)
    with pytest.raises(CallerGone):
        executor.run(lambda kept=picture: kept, is_gone=lambda: executor.waiting > 0)  # type: ignore[misc]
    del picture
    assert seen() is None
    work.end.set()
    first.join()


def test_what_work_held_is_let_go_of_when_it_fails() -> None:
    class Picture:
        pass

    def fail(picture: Picture) -> None:
        raise MemoryError

    executor = Executor(places=2, deadline=10)
    picture = Picture()
    seen = weakref.ref(picture)
    gc.disable()  # or it might only be found in a cycle
    try:
        with suppress(MemoryError):
            executor.run(partial(fail, picture))
        del picture
        executor.run(lambda: None)
        assert seen() is None
    finally:
        gc.enable()


def test_a_caller_that_leaves_is_not_waited_with(work: Work) -> None:
    executor = Executor(places=1, deadline=10)
    with pytest.raises(CallerGone):
        executor.run(work, is_gone=work.begun.is_set)


def test_work_past_its_deadline_is_stuck_and_stops_everything(work: Work) -> None:
    executor = Executor(places=3, deadline=0.2)
    assert executor.stuck_seconds is None
    with executor.place(), pytest.raises(NotReady, match="restart"):
        executor.run(work)
    assert (executor.stuck_seconds or 0) > 0.2
    with pytest.raises(NotReady, match="restart"), executor.place():
        pass
    with pytest.raises(NotReady, match="restart"):
        executor.run(lambda: 1)
    work.end.set()
    while executor.stuck_seconds is not None:
        pass
    with executor.place():
        assert executor.run(lambda: 1) == 1


def test_once_nothing_comes_for_a_while_memory_is_given_back_once() -> None:
    idle = SimpleQueue[float]()
    executor = Executor(1, 60, lambda: idle.put(time.monotonic()), idle_seconds=0.05)
    assert idle.get(timeout=10)
    with pytest.raises(Empty):
        idle.get(timeout=0.3)
    before = time.monotonic()
    assert executor.run(lambda: 1) == 1
    assert idle.get(timeout=10) >= before + 0.05
