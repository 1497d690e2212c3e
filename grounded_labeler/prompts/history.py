"""The newest prompt of each project, for all worker processes and all who share a store."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from grounded_labeler.cache import put_newest
from grounded_labeler.prompts.store import PromptStore, StoreError

logger = logging.getLogger(__name__)

_MAX_FALLBACK = 1000  # projects held in memory while the store cannot be used
_MAX_NAME_LENGTH = 200  # of an image tag, in the store
_MAX_PROJECT_LENGTH = 64


def project_key(number: object, created: object = None) -> str:
    """Return a project as Label Studio's requests name it, "1.1795170150".

    It is `number` and the time of creation, as numbers alone are the same in every Label Studio.
    `created` is that time, a datetime or as webhooks write it; where it is neither, the key is
    the number alone.
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


def prompt_key(project: str, image: str) -> str:
    """Return the key that stores hold the prompt of an image tag of a project under."""
    return f"{project}/{image[:_MAX_NAME_LENGTH]}"


class PromptHistory:
    """The prompt last typed in each project, across processes, restarts and kills.

    With `store` None prompts live in this process only. A store that cannot be used never
    stops a prediction: the history warns once and falls back on this process's own memory.
    Threads may share a history.
    """

    def __init__(self, store: PromptStore | None) -> None:
        self._store = store
        self._lock = threading.Lock()
        # Time and prompt, as in the store, of each project that it does not have yet.
        self._fallback: dict[str, tuple[float, str]] = {}
        self._waiting: dict[str, None] = {}  # projects that the writer has yet to write
        self._writer: ThreadPoolExecutor | None = None
        self._is_writing = False
        self._warned = False

    def newest(self, project: str) -> str | None:
        """Return the prompt last saved for `project`, None if there is none."""
        with self._lock:
            known = [self._fallback[project]] if project in self._fallback else []
        if self._store is not None:
            try:
                stored = self._store.newest(project)
            except StoreError as error:
                self._warn(self._store, error)
            else:
                known += [] if stored is None else [stored]
        return max(known)[1] if known else None

    def save(self, project: str, prompt: str) -> None:
        """Make `prompt` the newest of `project`; waits for the store."""
        with self._lock:
            self._fall_back(project, prompt)
        self._write(project)

    def save_later(self, project: str, prompt: str) -> None:
        """Make `prompt` the newest of `project` without waiting: another thread writes it.

        This process knows it at once. Of several prompts of a project that wait, only the
        newest is written. The process writes what waits before it ends.
        """
        with self._lock:
            self._fall_back(project, prompt)
            put_newest(self._waiting, project, None, _MAX_FALLBACK)
            if self._is_writing:
                return
            if self._writer is None:
                self._writer = ThreadPoolExecutor(1, thread_name_prefix="save-prompts")
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
        """Wait until all that was saved is written, or the store has failed."""
        with self._lock:
            writer = self._writer
        if writer is not None:
            writer.submit(lambda: None).result()

    def _fall_back(self, project: str, prompt: str) -> None:
        put_newest(self._fallback, project, (time.time(), prompt), _MAX_FALLBACK)

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
                logger.exception("A prompt could not be stored")

    def _write(self, project: str) -> None:
        """Write the prompt that the fallback holds for `project`, and drop it there once stored."""
        with self._lock:
            known = self._fallback.get(project)
        if self._store is None or known is None:
            return
        try:
            self._store.save(project, *known)
        except StoreError as error:
            self._warn(self._store, error)
            return
        with self._lock:
            if self._fallback.get(project) == known:  # else a newer one is to be written, too
                del self._fallback[project]

    def _warn(self, store: PromptStore, error: StoreError) -> None:
        with self._lock:
            warned, self._warned = self._warned, True
        if not warned:
            logger.warning(
                "Prompts cannot be stored in %s (%s): each worker process holds its own until they"
                " can. %s",
                store.place,
                error,
                store.remedy,
            )
