"""Lines of the log say of which request they are, on whatever thread they are written."""

import threading
from collections.abc import Sequence

from grounded_labeler.inference.batching import Unbatched
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.request_context import (
    NO_REQUEST,
    RequestContext,
    RequestThreads,
    current,
    entered,
    note_project,
    task_named,
    together,
)
from tests.helpers.models_thread import held
from tests.helpers.serving import wait_until

A, B = RequestContext("a", "1"), RequestContext("b", "1")


def seen(requests: Sequence[int]) -> list[RequestContext]:
    return [current() for _ in requests]


def test_a_context_ends_with_its_block() -> None:
    with entered(A):
        note_project("2")
        assert current() == RequestContext("a", "2")
        assert task_named(7) == "project 2, task 7"
    assert current() == NO_REQUEST
    assert task_named(7) == "task 7"


def test_a_project_of_a_stranger_is_shortened() -> None:
    with entered(A):
        note_project("x" * 9000)
        assert len(current().project or "") == 61
        note_project("")  # a request without a project says nothing of one
        assert current().project is not None


def test_a_pool_works_on_the_request_of_who_submits() -> None:
    with RequestThreads(1) as threads:
        with entered(A):
            first = threads.submit(current)
        second = threads.submit(current)
        assert (first.result(), second.result()) == (A, NO_REQUEST)


def test_the_models_thread_works_on_the_request_of_who_waits() -> None:
    queue, models = InferenceQueue(60), Unbatched(seen)
    with entered(A):
        assert queue.run(models, [0]) == [A]
    assert queue.run(models, [0]) == [NO_REQUEST]


def test_a_batch_is_of_all_its_requests() -> None:
    queue, results = InferenceQueue(60), dict[str, list[RequestContext]]()
    models = Unbatched(seen, batch_size=8)

    def ask(context: RequestContext) -> None:
        with entered(context):
            results[context.request_id or ""] = queue.run(models, [0])

    with held(queue):
        threads = []
        for count, context in enumerate((A, B), 1):
            threads.append(threading.Thread(target=ask, args=(context,)))
            threads[-1].start()
            wait_until(lambda count=count: queue.waiting == count)  # type: ignore[misc]
    for thread in threads:
        thread.join()
    both = RequestContext("a,b", "1")
    assert results == {"a": [both], "b": [both]}


def test_requests_of_two_projects_are_of_none() -> None:
    assert together([A, RequestContext("b", "2"), A]) == RequestContext("a,b", None)
    assert together([NO_REQUEST]) == NO_REQUEST
    assert together([]) == NO_REQUEST
