"""The models as a deployment of Ray Serve, on as many GPUs and machines as there are.

`grounded-labeler deploy` puts them on the cluster at RAY_ADDRESS; ray_client.py uses
them. Needs requirements-ray.txt; https://docs.ray.io/en/latest/serve says what Ray Serve does.
"""

import asyncio
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from pydantic import BaseModel, PositiveInt
from ray import serve

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.inference import InferenceRequest, InferenceResult, SegmentRequest
from grounded_labeler.inference.backend import Priority, never_cancelled
from grounded_labeler.inference.loader import loader_of
from grounded_labeler.inference.local import LocalBackend
from grounded_labeler.inference.pool import ModelPool
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.inference.ray_connection import APP, DeploymentInfo, join
from grounded_labeler.models.detectors import GPU_BATCH
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.settings import Settings
from grounded_labeler.weights.summary import summarize_all

ModelNames = tuple[str, str]  # of a detector and a segmenter, as the settings call them

_WAIT_FOR_MORE_S = 0.01  # for a batch to fill, a fraction of what it takes


class ScalingConfig(BaseModel):
    """How many replicas there are, by how much there is to do, and what each one is given."""

    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt = 1
    cpus: PositiveInt = 1
    gpus: float = 0.0


class _OneByOne:
    """A pipeline that runs a batch that failed again, one request at a time.

    It returns a result or an error for each.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    @property
    def batch_size(self) -> int:
        return self._pipeline.batch_size

    def run(self, requests: Sequence[InferenceRequest]) -> list[InferenceResult | Exception]:
        try:
            return list(self._pipeline.run(requests))
        except Exception as error:  # noqa: BLE001 - raised where the result is waited for
            if len(requests) == 1:
                return [error]
            # Which request failed is not known: it must not take the others with it.
            return [result for request in requests for result in self.run([request])]


class Replica:
    """One copy of the models, loaded as a service of its own would load them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queue = InferenceQueue(settings.model_deadline, self._release)
        self._backend = self.load(settings, self._queue)
        self._backend.wait_until_ready(math.inf)
        cast(Any, self._batch).set_max_batch_size(self._backend.batch_size)

    def load(self, settings: Settings, queue: InferenceQueue) -> LocalBackend:
        """Begin to load the default models; the backend runs them behind `queue`."""
        loader = loader_of(settings, ByteCache(settings.cache_bytes))
        return ModelPool(loader, queue, settings.choice, settings.models_bytes).default

    def _release(self) -> None:
        self._backend.release()

    async def served(self) -> dict[str, Any]:
        """Return the message of a DeploymentInfo; the name stays: any version calls it."""
        offered, model_dir = self._settings.offered, self._settings.model_dir
        return DeploymentInfo(
            tuple(pair.name for pair in offered.pairs),
            await asyncio.to_thread(summarize_all, offered, model_dir),
            f"a cluster ({self._backend.device})",
            runtime=self._backend.runtime,
        ).to_message()

    async def answer(self, request: InferenceRequest, names: ModelNames) -> InferenceResult:
        """Return the result of one request; raises what the pipeline raises for it.

        Raises NotReady at once where this replica does not have the models: what other
        projects ask for need not wait until it has loaded them.
        """
        with self._ready(names) as backend:
            result: InferenceResult | Exception = await cast(Any, self._batch)((backend, request))
        if isinstance(result, Exception):
            raise result
        return result

    async def segment(self, request: SegmentRequest, names: ModelNames) -> InferenceResult:
        """Return the masks of what was drawn, before all that waits here; raises as `answer`."""
        with self._ready(names) as backend:
            [result] = await asyncio.to_thread(
                backend.run, [request], never_cancelled, math.inf, Priority.CLICK
            )
        return result

    @contextmanager
    def _ready(self, names: ModelNames) -> Iterator[LocalBackend]:
        backend = self._backend.of(self._settings.offered.choose(*names))
        with backend.hold():
            backend.wait_until_ready(0)
            yield backend

    @serve.batch(batch_wait_timeout_s=_WAIT_FOR_MORE_S)
    async def _batch(
        self, asked: list[tuple[LocalBackend, InferenceRequest]]
    ) -> list[InferenceResult | Exception]:
        """Run requests that came together, those for the same models as a batch."""
        results: dict[int, InferenceResult | Exception] = {}
        for models in dict.fromkeys(backend for backend, _ in asked):
            own = [number for number, (backend, _) in enumerate(asked) if backend is models]
            requests = [asked[number][1] for number in own]
            found = await asyncio.to_thread(self._queue.run, _OneByOne(models.pipeline), requests)
            results |= zip(own, found, strict=True)
        return [results[number] for number in range(len(asked))]

    def check_health(self) -> None:
        """Raises when the models are stuck or lost: Ray Serve replaces this replica then."""
        self._queue.check()


def application(
    scale: ScalingConfig, settings: Settings, replica: type[Replica] = Replica
) -> serve.Application:
    """Replicas as many and as large as `scale` says, with the models of `settings`."""
    batch = GPU_BATCH if scale.gpus else 1
    deployment = serve.deployment(
        ray_actor_options={"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        # One batch at the models and one that waits, so that they never do.
        max_ongoing_requests=2 * batch,
        autoscaling_config={
            "min_replicas": scale.min_replicas,
            "max_replicas": max(scale.min_replicas, scale.max_replicas),
            "target_ongoing_requests": 1.5 * batch,
            "upscale_delay_s": 10,  # annotators are waiting
        },
        health_check_period_s=5,
    )(replica)
    # A replica fetches nothing and lets nobody in: no secret need travel there.
    own = {"cpu_threads": scale.cpus, "ray_address": None}
    return deployment.bind(settings.without_secrets().model_copy(update=own))


def deploy(settings: Settings, scale: ScalingConfig) -> None:
    """Put the models of `settings` on the cluster that they name, where they stay.

    Raises NotReady when there is no such cluster, RuntimeError when it cannot run them.
    """
    join(settings.ray_address or "")
    # Images come over handles: nothing of it is to be reached over HTTP.
    serve.start(http_options={"location": "NoServer"})
    serve.run(application(scale, settings), name=APP, route_prefix=None)
