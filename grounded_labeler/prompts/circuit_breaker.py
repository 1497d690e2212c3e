"""A store on another machine, left alone for some seconds after it failed."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from grounded_labeler.prompts.store import Entry, PromptStore, StoreError

_OPEN_SECONDS = 10.0


class CircuitBreaker:
    """Passes calls on to `store`, but none for `_OPEN_SECONDS` after a failure.

    Otherwise every request would wait for the timeouts of a store that is gone. After those
    seconds one caller probes the store; the others are refused until that one has its result.
    """

    def __init__(
        self,
        store: PromptStore,
        clock: Callable[[], float] = time.monotonic,
        newer: Callable[[], PromptStore | None] = lambda: None,
    ) -> None:
        """`newer` returns the store to use from now on, None where it is the same."""
        self.place, self.remedy = store.place, store.remedy
        self._store, self._newer, self._clock = store, newer, clock
        self._lock = threading.Lock()
        self._failed, self._open_until = False, 0.0  # on the clock

    def newest(self, project: str) -> tuple[float, str] | None:
        with self._call():
            return self._store.newest(project)

    def save(self, project: str, learned: float, prompt: str) -> None:
        with self._call():
            self._store.save(project, learned, prompt)

    def entries(self) -> list[Entry]:
        with self._call():
            return self._store.entries()

    def delete(self, project: str) -> None:
        with self._call():
            self._store.delete(project)

    @contextmanager
    def _call(self) -> Iterator[None]:
        with self._lock:
            self._follow()
            if self._clock() < self._open_until:
                raise StoreError("it failed a moment ago and is not tried again yet")
            if self._failed:
                self._open()
        try:
            yield
        except StoreError:
            with self._lock:
                self._failed = True
                self._open()
            raise
        with self._lock:
            self._failed, self._open_until = False, 0.0

    def _follow(self) -> None:
        newer = self._newer()
        if newer is not None:
            self._store, self.place, self.remedy = newer, newer.place, newer.remedy
            self._failed, self._open_until = False, 0.0

    def _open(self) -> None:
        self._open_until = self._clock() + _OPEN_SECONDS
