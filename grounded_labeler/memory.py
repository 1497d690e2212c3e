"""The newest prompt of each project, for all worker processes and all who share a store."""

import logging
import threading
import time

from grounded_labeler.bounded import keep
from grounded_labeler.stores import PromptStore, StoreError

logger = logging.getLogger(__name__)

_MAX_STAND_INS = 1000  # projects kept in memory while the store cannot be used
_MAX_NAME_LENGTH = 200  # of an image tag, in the store


def memory_key(project: str, image: str) -> str:
    """Under which the prompt of an image tag of a project is kept."""
    return f"{project}/{image[:_MAX_NAME_LENGTH]}"


class PromptMemory:
    """Remembers what was last asked in each project, across processes, restarts and kills.

    `store` None keeps prompts in this process only. A store that cannot be used never
    stops an answer: it is warned of once and this process's own memory stands in.
    Threads may share a memory.
    """

    def __init__(self, store: PromptStore | None) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._stand_ins: dict[str, tuple[float, str]] = {}  # time and prompt, as in the store
        self._warned = False

    def newest(self, project: str) -> str | None:
        """The prompt last remembered for `project`, None if there is none."""
        with self._lock:
            known = [self._stand_ins[project]] if project in self._stand_ins else []
        if self._store is not None:
            try:
                kept = self._store.newest(project)
            except StoreError as error:
                self._warn(self._store, error)
            else:
                known += [] if kept is None else [kept]
        return max(known)[1] if known else None

    def remember(self, project: str, prompt: str) -> None:
        """Make `prompt` the newest of `project`."""
        kept, now = False, time.time()
        if self._store is not None:
            try:
                self._store.remember(project, now, prompt)
                kept = True
            except StoreError as error:
                self._warn(self._store, error)
        with self._lock:
            # Another thread may have learned a newer one while the store kept this one waiting.
            if self._stand_ins.get(project, (now, ""))[0] <= now:
                self._stand_ins.pop(project, None)
                if not kept:
                    keep(self._stand_ins, project, (now, prompt), _MAX_STAND_INS)

    def _warn(self, store: PromptStore, error: StoreError) -> None:
        with self._lock:
            warned, self._warned = self._warned, True
        if not warned:
            logger.warning(
                "Prompts cannot be kept in %s (%s): each worker remembers its own meanwhile. %s",
                store.place,
                error,
                store.remedy,
            )
