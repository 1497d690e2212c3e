"""How many requests one process works on at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from grounded_labeler.errors import NotReady
from grounded_labeler.inference.backend import Priority

_RESERVED_ONE_IN = 4  # of so many slots pre-annotation leaves one to annotators


class RequestSlots:
    """A slot for each request that is queued or running; threads share them."""

    def __init__(self, count: int) -> None:
        self._count, self._taken = count, 0
        self._lock = threading.Lock()

    @contextmanager
    def take(self, priority: Priority = Priority.TYPED_PROMPT) -> Iterator[None]:
        """Hold a slot while the block runs; raises NotReady at once when there is none.

        Pre-annotation cannot take the last slots: an annotator would be refused for it.
        """
        is_urgent = priority < Priority.PREANNOTATION
        reserved = 0 if is_urgent else self._count // _RESERVED_ONE_IN
        with self._lock:
            if self._taken >= self._count - reserved:
                raise NotReady("Too many requests are running: try again in a moment.")
            self._taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1
