"""What waits for the models: the most urgent first, put together into batches."""

import threading
from bisect import insort
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from grounded_labeler.inference.backend import Priority
from grounded_labeler.request_context import RequestContext, current

_Request = TypeVar("_Request")
_Request_contra = TypeVar("_Request_contra", contravariant=True)
_Result = TypeVar("_Result")


class BatchModels(Protocol[_Request_contra, _Result]):
    """Models that process several requests in one run, up to `batch_size` at once."""

    @property
    def batch_size(self) -> int: ...

    def run(self, requests: Sequence[_Request_contra], /) -> list[_Result]:
        """Return one result per request, in order."""


@dataclass(frozen=True)
class Unbatched(Generic[_Request, _Result]):
    """Models that run each caller's requests alone: to wait for more would take longer."""

    run: Callable[[Sequence[_Request]], list[_Result]]
    batch_size: int = 1


@dataclass(eq=False)
class WorkItem(Generic[_Request, _Result]):
    """The requests of one caller, and the future that gets their results.

    `number` says how old it is, `context` of which request it is. `begun` is set once its turn
    has come. `alone` is set after a batch failed: whose request made it fail is not known.
    """

    models: BatchModels[_Request, _Result]
    requests: Sequence[_Request]
    priority: Priority
    results: "Future[list[_Result]]" = field(default_factory=Future)
    number: int = 0
    begun: bool = False
    alone: bool = False
    context: RequestContext = field(default_factory=current)


# One queue holds the items of all kinds of models: a batch has those of one.
AnyWorkItem = WorkItem[Any, Any]


class BatchQueue:
    """Work items in the order of their priority, then of their age; threads share it.

    Urgent work overtakes older work `most_overtakes` times in a row at most. Then the oldest
    item has its turn, so that annotators who type without a pause starve nobody.
    """

    def __init__(self, most_overtakes: int) -> None:
        self._most_overtakes = most_overtakes
        self._overtakes = 0
        self._numbers = count()
        self._waiting: list[AnyWorkItem] = []  # sorted by _order
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: AnyWorkItem) -> None:
        """Add a new item."""
        with self._changed:
            item.number = next(self._numbers)
            insort(self._waiting, item, key=_order)
            self._changed.notify()

    def put_back(self, batch: Sequence[AnyWorkItem]) -> None:
        """Return the items of a batch that failed to their old places; each runs alone now."""
        with self._changed:
            for item in batch:
                item.alone = True
                insort(self._waiting, item, key=_order)
            self._changed.notify()

    def leave(self, item: AnyWorkItem) -> bool:
        """Remove an item that nobody waits for any more; return whether it was here."""
        with self._changed:
            if item not in self._waiting:
                return False
            self._waiting.remove(item)
            return True

    def take(self, timeout_s: float | None) -> list[AnyWorkItem]:
        """Remove and return the next item and those that fit into one batch with it.

        Returns an empty list when nothing has come after `timeout_s` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, timeout_s):
                return []
            oldest = min(self._waiting, key=lambda item: item.number)
            is_due = self._overtakes >= self._most_overtakes
            batch = self._batch(oldest if is_due else self._waiting[0])
            self._overtakes = 0 if oldest in batch else self._overtakes + 1
            for item in batch:
                item.begun = True
                self._waiting.remove(item)
            return batch

    def _batch(self, first: AnyWorkItem) -> list[AnyWorkItem]:
        batch, room = [first], first.models.batch_size - len(first.requests)
        if first.alone:
            return batch
        for item in self._waiting:
            can_join = item is not first and not item.alone and item.models is first.models
            if can_join and len(item.requests) <= room:
                batch.append(item)
                room -= len(item.requests)
        return batch


def _order(item: AnyWorkItem) -> tuple[int, int]:
    return item.priority, item.number
