"""The newest prompt of each project, for all worker processes and all who share a store."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from grounded_labeler.bounded import keep
from grounded_labeler.prompts.store import PromptStore, StoreError

logger = logging.getLogger(__name__)

_MAX_STAND_INS = 1000  # projects kept in memory while the store cannot be used
_MAX_NAME_LENGTH = 200  # of an image tag, in the store
_MAX_PROJECT_LENGTH = 64


def project_key(number: object, created: object = None) -> str:
    """A project as Label Studio's requests name it: "1.1795170150", its number and creation time.

    `created` is that time, a datetime or as webhooks write it; where it is neither, the key is
    the number alone. Numbers alone are the same in every Label Studio.
    """
    name = str(number or "")[:_MAX_PROJECT_LENGTH]
    if isinstance(created, str):
        try:
            created = datetime.fromisoformat(created)
        except ValueError:
            created = None
    if not name or not isinstance(created, datetime):
        return name
    aware = created if created.tzinfo else created.replace(tzinfo=UTC)
    return f"{name}.{int(aware.timestamp())}"


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
        # Time and prompt, as in the store: of those that it has not, or not yet.
        self._stand_ins: dict[str, tuple[float, str]] = {}
        self._waiting: dict[str, None] = {}  # projects that the writer has yet to write
        self._writer: ThreadPoolExecutor | None = None
        self._is_writing = False
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
        """Make `prompt` the newest of `project`; waits for the store."""
        with self._lock:
            self._stand_in(project, prompt)
        self._write(project)

    def remember_later(self, project: str, prompt: str) -> None:
        """The same without waiting: known here at once, in the store as soon as that has it.

        Of several prompts of a project that wait, only the newest is written. What waits when
        the process ends is written before that.
        """
        with self._lock:
            self._stand_in(project, prompt)
            keep(self._waiting, project, None, _MAX_STAND_INS)
            if self._is_writing:
                return
            if self._writer is None:
                self._writer = ThreadPoolExecutor(1, thread_name_prefix="remember")
            self._is_writing = True
            try:
                self._writer.submit(self._write_waiting)
            except RuntimeError:  # the process is ending: no other thread will do it any more
                is_ending = True
            else:
                is_ending = False
        if is_ending:
            self._write_waiting()

    def flush(self) -> None:
        """Wait until all that was remembered is written, or the store has failed."""
        with self._lock:
            writer = self._writer
        if writer is not None:
            writer.submit(lambda: None).result()

    def _stand_in(self, project: str, prompt: str) -> None:
        keep(self._stand_ins, project, (time.time(), prompt), _MAX_STAND_INS)

    def _write_waiting(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_writing = False
                    return
                project = next(iter(self._waiting))
                del self._waiting[project]
            try:
                self._write(project)
            except Exception:
                logger.exception("A prompt could not be kept")

    def _write(self, project: str) -> None:
        """Give the store what stands in for `project`, which need not stand in any more then."""
        with self._lock:
            known = self._stand_ins.get(project)
        if self._store is None or known is None:
            return
        try:
            self._store.remember(project, *known)
        except StoreError as error:
            self._warn(self._store, error)
            return
        with self._lock:
            if self._stand_ins.get(project) == known:  # else a newer one is to be written, too
                del self._stand_ins[project]

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
