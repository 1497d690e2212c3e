"""The models in this process."""

import math
from collections.abc import Callable, Sequence

from grounded_labeler.core.inference import (
    InferenceResult,
    Request,
    SegmentRequest,
)
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.inference.backend import LOADING_TIMEOUT_S, BackendState, Cancelled, Priority
from grounded_labeler.inference.batching import BatchModels, Unbatched
from grounded_labeler.inference.loading import BackgroundLoad
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.device import Runtime


class LocalBackend:
    """An InferenceBackend with one copy of the models and one queue in front of them."""

    def __init__(
        self, load: Callable[[], Pipeline], queue: InferenceQueue, name: str = "models"
    ) -> None:
        """Load the models with `load`, in the background; log lines call them `name`."""
        self.queue = queue
        self._loading = BackgroundLoad(load, name)

    @property
    def pipeline(self) -> Pipeline:
        """The loaded models; raises NotReady when they are not there."""
        return self._loading.get(0)

    @property
    def state(self) -> BackendState:
        if self.queue.is_lost:
            return BackendState.LOST
        if self.queue.stuck_seconds is not None:
            return BackendState.STUCK
        return self._loading.state

    @property
    def device(self) -> str:
        return self.pipeline.device

    @property
    def runtime(self) -> Runtime | None:
        return self.pipeline.runtime

    @property
    def batch_size(self) -> int:
        return self.pipeline.batch_size

    def wait_until_ready(self, timeout_s: float = LOADING_TIMEOUT_S) -> None:
        self._loading.get(timeout_s)

    def release(self) -> None:
        """Give back memory that the models need only while they run, if they are loaded."""
        if self._loading.state is BackendState.READY:
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
        models: BatchModels[Request, InferenceResult] = self.pipeline
        if any(isinstance(request, SegmentRequest) for request in requests):
            models = Unbatched(models.run)
        return self.queue.run(models, requests, cancelled, timeout_s, priority)

    def encode(self, image: DecodedImage, cancelled: Cancelled) -> None:
        models = Unbatched(self.pipeline.encode)
        self.queue.run(models, [image], cancelled, math.inf, Priority.ENCODE_AHEAD)
