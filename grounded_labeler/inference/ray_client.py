"""The models on a Ray cluster, for a service that loads none: see ray_deployment.py."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentResponse

from grounded_labeler.core.inference import InferenceResult, Request, SegmentRequest
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import CallerGone, NotReady, StillLoading
from grounded_labeler.inference.backend import (
    LOADING_TIMEOUT_S,
    BackendState,
    Cancelled,
    InferenceBackend,
    Priority,
)
from grounded_labeler.inference.loading import BackgroundLoad
from grounded_labeler.inference.ray_connection import (
    CONNECTION_LOST,
    DeploymentInfo,
    connect,
    deployment_handle,
)
from grounded_labeler.models.runtime.device import Runtime
from grounded_labeler.settings import Settings
from grounded_labeler.weights.choice import ModelChoice, has_published_sums
from grounded_labeler.weights.summary import PairSummary

_POLL_S = 0.25  # between two checks whether the caller is still there
_PAUSE_POLLS = 4  # between two requests for models that a replica loads
# An image that ends every replica it comes to must not end them all.
_ATTEMPTS = 3

_BUSY = "The cluster is busy with earlier requests: try again in a moment."
_LOST_SENTENCE = "The service lost the connection to the Ray cluster and reconnects."


class _Connection:
    """The connection of this process to the cluster.

    Once it is lost there is no other: Ray cannot join twice.
    """

    def __init__(self, settings: Settings) -> None:
        self.is_lost = False
        self.loading = BackgroundLoad(lambda: connect(settings), settings.choice.name)


class RayBackend:
    """An InferenceBackend whose models are those of a Ray cluster.

    Each replica loads a pair that is not the default's when the first request for it comes.
    """

    def __init__(
        self,
        settings: Settings,
        choice: ModelChoice | None = None,
        connection: _Connection | None = None,
    ) -> None:
        """Connect to the cluster of the settings, in the background, unless there is a connection.

        `choice` is the pair of models; that of the settings if None.
        """
        self._settings, self._choice = settings, choice or settings.choice
        self._connection = connection or _Connection(settings)

    @property
    def state(self) -> BackendState:
        connection = self._connection
        return BackendState.LOST if connection.is_lost else connection.loading.state

    @property
    def device(self) -> str:
        return self._deployment.device

    @property
    def runtime(self) -> Runtime | None:
        return self._deployment.runtime

    @property
    def batch_size(self) -> int:
        return self._deployment.batch_size

    @property
    def others_loaded(self) -> tuple[str, ...]:
        return ()  # each replica has its own

    @property
    def _deployment(self) -> DeploymentInfo:
        return self._connection.loading.get(0)

    def of(self, choice: ModelChoice) -> InferenceBackend:
        return RayBackend(self._settings, choice, self._connection)

    def summary(self) -> PairSummary | None:
        # What is published is known while there is no connection, too.
        if has_published_sums(self._choice):
            return None
        return self._connection.loading.get(LOADING_TIMEOUT_S).models.pair(self._choice)

    def hold(self) -> AbstractContextManager[None]:
        return nullcontext()  # the replicas do

    def wait_until_ready(self, timeout_s: float = LOADING_TIMEOUT_S) -> None:
        self._connection.loading.get(timeout_s)

    def check(self) -> None:
        if self._connection.is_lost:
            raise NotReady(_LOST_SENTENCE)

    def run(
        self,
        requests: Sequence[Request],
        cancelled: Cancelled,
        timeout_s: float,
        priority: Priority,
    ) -> list[InferenceResult]:
        """Return the results of `requests`, in order: see InferenceBackend.

        Ray Serve's queue is first come, first served: `priority` changes nothing.
        """
        self.wait_until_ready(0)
        if cancelled():
            raise CallerGone
        end = time.monotonic() + timeout_s
        names = (self._choice.detector, self._choice.segmenter)
        responses: list[Any] = []
        results: list[InferenceResult] = []
        try:
            deployment = deployment_handle()

            def send(request: Request) -> Any:  # noqa: ANN401 - Ray's
                if isinstance(request, SegmentRequest):
                    return deployment.segment.remote(request, names)
                return deployment.answer.remote(request, names)

            responses += [send(request) for request in requests]
            for number, request in enumerate(requests):
                left, loading_end = _ATTEMPTS, time.monotonic() + LOADING_TIMEOUT_S
                while len(results) == number:
                    try:
                        results.append(_wait(responses[number], cancelled, end))
                    except (RayActorError, RayTaskError) as error:
                        left -= isinstance(error, RayActorError)
                        if not left or not _may_help(error, loading_end, cancelled):
                            raise
                        responses[number] = send(request)
        except RayTaskError as error:
            # As if it had been raised here: Ray's own message is a page of traceback.
            raise error.cause from None
        except (BackPressureError, DeploymentUnavailableError) as error:
            raise NotReady("The cluster has no room for more: try again in a moment.") from error
        except CONNECTION_LOST as error:
            self._connection.is_lost = True
            raise NotReady(_LOST_SENTENCE) from error
        else:
            return results
        finally:
            with suppress(*CONNECTION_LOST):
                for response in responses:
                    response.cancel()  # does nothing to one that is there

    def encode(self, image: DecodedImage, cancelled: Cancelled) -> None:
        """Do nothing: the replica that encodes an image is not the one that gets its clicks."""


def _may_help(error: Exception, loading_end: float, cancelled: Cancelled) -> bool:
    """Whether another replica, or the same one soon, may have a result.

    Waits a moment for one that loads the models, but not beyond `loading_end`.
    """
    if isinstance(error, RayActorError):  # the replica has ended
        return True
    is_loading = isinstance(error, RayTaskError) and isinstance(error.cause, StillLoading)
    if not is_loading or time.monotonic() > loading_end:
        return False
    for _ in range(_PAUSE_POLLS):
        time.sleep(_POLL_S)
        if cancelled():
            raise CallerGone
    return True


def _wait(
    response: DeploymentResponse[InferenceResult], cancelled: Cancelled, end: float
) -> InferenceResult:
    while True:
        try:
            return response.result(timeout_s=_POLL_S)
        except TimeoutError:
            if cancelled():
                raise CallerGone from None
            if time.monotonic() > end:
                raise NotReady(_BUSY) from None
