"""Which request is being worked on, and of which project, on whatever thread that is."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from grounded_labeler._text import shorten

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

_MAX_PROJECT_LENGTH = 60  # of what a stranger may send as one


@dataclass(frozen=True)
class RequestContext:
    """The id of a request and its project, None where there is none.

    Of requests that the models run as one batch `request_id` has all ids, with commas. `span` is
    the one that spans of what is done now are below, where there are traces: see tracing.py.
    """

    request_id: str | None = None
    project: str | None = None
    span: "Span | None" = None


NO_REQUEST = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("request", default=NO_REQUEST)


def current() -> RequestContext:
    """Return the request that this thread works on."""
    return _current.get()


@contextmanager
def entered(context: RequestContext) -> Iterator[None]:
    """Work on the request of `context` on this thread while the block runs."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def note_project(project: str) -> None:
    """Note the project of the request that this thread works on, once it is known."""
    if project:
        _current.set(replace(current(), project=shorten(project, _MAX_PROJECT_LENGTH)))


def task_named(name: int | str) -> str:
    """Return how lines of the log begin that are about a task: with its project, if one is known.

    Example:
        >>> with entered(RequestContext("8e5a", "7")):
        ...     task_named(12)
        'project 7, task 12'
    """
    project = current().project
    return f"task {name}" if project is None else f"project {project}, task {name}"


def together(contexts: Iterable[RequestContext]) -> RequestContext:
    """Return the context of requests that are run as one.

    It has a project and a span if all have the same.
    """
    unique = list(dict.fromkeys(contexts))
    ids = ",".join(dict.fromkeys(one.request_id for one in unique if one.request_id is not None))
    projects, spans = {one.project for one in unique}, {one.span for one in unique}
    return RequestContext(
        ids or None,
        projects.pop() if len(projects) == 1 else None,
        spans.pop() if len(spans) == 1 else None,
    )


class RequestThreads(ThreadPoolExecutor):
    """Threads that work on the request of whoever submits something to them."""

    def submit(
        self,
        fn: Callable[_Parameters, _Result],
        /,
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> "Future[_Result]":
        """Submit as a ThreadPoolExecutor does."""
        context = current()

        def run() -> _Result:
            with entered(context):
                return fn(*args, **kwargs)

        return super().submit(run)
