"""The models in this process."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from grounded_labeler import metrics
from grounded_labeler.core.inference import (
    InferenceResult,
    Request,
    SegmentRequest,
)
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.inference.backend import (
    LOADING_TIMEOUT_S,
    BackendState,
    Cancelled,
    Priority,
)
from grounded_labeler.inference.batching import BatchModels, Unbatched
from grounded_labeler.inference.loading import BackgroundLoad
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.device import Runtime, note_gpu_memory
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.summary import PairSummary


class Pool(Protocol):
    """What a backend asks of the pool that it is part of: see pool.py."""

    lock: threading.RLock  # guards the backends, too

    def of(self, choice: ModelChoice) -> "LocalBackend":
        """Return the backend of another pair."""

    def mark_used(self, backend: "LocalBackend") -> None:
        """Note that the models of `backend` are needed now."""

    def make_room(self) -> None:
        """Unload what nobody needs and is too much."""

    def release(self) -> None:
        """Give back memory that the models need only while they run."""

    def summary_of(self, backend: "LocalBackend") -> PairSummary:
        """Return what is known of the models of `backend`, as they are loaded."""

    def loaded_beside(self, backend: "LocalBackend") -> tuple[str, ...]:
        """Return the names of the other pairs that are loaded."""


class LocalBackend:
    """An InferenceBackend with the models in this process, and a queue in front of them.

    A pool has several, for one queue. Without a pool the one pair is that of every choice.
    """

    def __init__(
        self,
        load: Callable[[], Pipeline],
        queue: InferenceQueue,
        name: str = "models",
        pool: Pool | None = None,
        retry_after_s: float = math.inf,
    ) -> None:
        """Load the models with `load` in the background: at once or, in a `pool`, when asked.

        Log lines and /health call them `name`. A load that failed is tried again when they are
        needed `retry_after_s` seconds later, or never.
        """
        self.queue, self.name = queue, name
        self._load, self._pool = load, pool
        self._lock = threading.RLock() if pool is None else pool.lock
        self._retry_after_s, self._holds = retry_after_s, 0
        self._loading: BackgroundLoad[Pipeline] | None = None
        if pool is None:
            self.begin()

    @property
    def pipeline(self) -> Pipeline:
        """The loaded models; raises NotReady when they are not there."""
        return self.begin().get(0)

    @property
    def state(self) -> BackendState:
        if self.queue.is_lost:
            return BackendState.LOST
        if self.queue.stuck_seconds is not None:
            return BackendState.STUCK
        loading = self._loading
        return BackendState.LOADING if loading is None else loading.state

    @property
    def device(self) -> str:
        return self.pipeline.device

    @property
    def runtime(self) -> Runtime | None:
        return self.pipeline.runtime

    @property
    def batch_size(self) -> int:
        return self.pipeline.batch_size

    @property
    def is_held(self) -> bool:
        """Whether somebody needs the models now."""
        return self._holds > 0

    @property
    def is_loaded(self) -> bool:
        """Whether the models are loaded now."""
        loading = self._loading
        return loading is not None and loading.state is BackendState.READY

    @property
    def others_loaded(self) -> tuple[str, ...]:
        return () if self._pool is None else self._pool.loaded_beside(self)

    def of(self, choice: ModelChoice) -> "LocalBackend":
        return self if self._pool is None else self._pool.of(choice)

    def summary(self) -> PairSummary | None:
        return None if self._pool is None else self._pool.summary_of(self)

    @contextmanager
    def hold(self) -> Iterator[None]:
        with self._lock:
            self._holds += 1
            if self._pool is not None:
                self._pool.mark_used(self)
        try:
            yield
        finally:
            with self._lock:
                self._holds -= 1
            if self._pool is not None:
                self._pool.make_room()

    def wait_until_ready(self, timeout_s: float = LOADING_TIMEOUT_S) -> None:
        self.begin().get(timeout_s)

    def begin(self) -> BackgroundLoad[Pipeline]:
        """Begin to load the models, unless they are loaded or about to be."""
        with self._lock:
            loading = self._loading
            if loading is None or loading.has_failed_for(self._retry_after_s):
                loading = self._loading = BackgroundLoad(self._load, self.name)
            return loading

    def unload(self) -> None:
        """Drop the models, if they are loaded; the next request loads them again."""
        with self._lock:
            if self._loading is not None and self._loading.state is not BackendState.FAILED:
                self._loading = None

    def release(self) -> None:
        """Give back memory that the models, all of a pool, need only while they run."""
        if self._pool is not None:
            self._pool.release()
        elif self.is_loaded:
            self.pipeline.release()

    def check(self) -> None:
        self.queue.check()

    def run(
        self,
        requests: Sequence[Request],
        cancelled: Cancelled,
        timeout_s: float,
        priority: Priority,
    ) -> list[InferenceResult]:
        with self.hold():
            pipeline = self.pipeline
            models: BatchModels[Request, InferenceResult] = pipeline
            if any(isinstance(request, SegmentRequest) for request in requests):
                models = Unbatched(pipeline.run)
            try:
                return self.queue.run(models, requests, cancelled, timeout_s, priority)
            finally:
                _note_memory(pipeline)

    def encode(self, image: DecodedImage, cancelled: Cancelled) -> None:
        with self.hold():
            pipeline = self.pipeline
            models = Unbatched(pipeline.encode)
            with metrics.QUEUE.labels(Priority.ENCODE_AHEAD.kind).track_inprogress():
                self.queue.run(models, [image], cancelled, math.inf, Priority.ENCODE_AHEAD)
            _note_memory(pipeline)


def _note_memory(pipeline: Pipeline) -> None:
    if pipeline.device == "cuda":
        note_gpu_memory()
