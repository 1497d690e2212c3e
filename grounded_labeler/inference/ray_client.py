"""The models on a Ray cluster, for a service that loads none: see ray_deployment.py."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentResponse

from grounded_labeler.core.inference import InferenceResult, Request, SegmentRequest
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import CallerGone, NotReady
from grounded_labeler.inference.backend import LOADING_TIMEOUT_S, BackendState, Cancelled, Priority
from grounded_labeler.inference.loading import BackgroundLoad
from grounded_labeler.inference.ray_connection import (
    CONNECTION_LOST,
    DeploymentInfo,
    connect,
    deployment_handle,
)
from grounded_labeler.models.runtime.device import Runtime
from grounded_labeler.settings import Settings

_POLL_S = 0.25  # between two checks whether the caller is still there
# An image that ends every replica it comes to must not end them all.
_ATTEMPTS = 3

_BUSY = "The cluster is busy with earlier requests: try again in a moment."
_LOST_SENTENCE = "The service lost the connection to the Ray cluster and reconnects."


class RayBackend:
    """An InferenceBackend whose models are those of a Ray cluster.

    Once the connection is lost there is no other in this process: Ray cannot join twice.
    """

    def __init__(self, settings: Settings) -> None:
        """Connect to the cluster of the settings, in the background."""
        self._is_lost = False
        self._loading = BackgroundLoad(lambda: connect(settings), settings.choice.name)

    @property
    def state(self) -> BackendState:
        return BackendState.LOST if self._is_lost else self._loading.state

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
    def _deployment(self) -> DeploymentInfo:
        return self._loading.get(0)

    def wait_until_ready(self, timeout_s: float = LOADING_TIMEOUT_S) -> None:
        self._loading.get(timeout_s)

    def check(self) -> None:
        if self._is_lost:
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
        responses: list[Any] = []
        try:
            deployment = deployment_handle()

            def send(request: Request) -> Any:  # noqa: ANN401 - Ray's
                if isinstance(request, SegmentRequest):
                    return deployment.segment.remote(request)
                return deployment.answer.remote(request)

            responses += [send(request) for request in requests]
            results = []
            for number, request in enumerate(requests):
                for attempt in range(1, _ATTEMPTS + 1):
                    try:
                        results.append(_wait(responses[number], cancelled, end))
                        break
                    except RayActorError:  # its replica has ended: another one takes the request
                        if attempt == _ATTEMPTS:
                            raise
                        responses[number] = send(request)
        except RayTaskError as error:
            # As if it had been raised here: Ray's own message is a page of traceback.
            raise error.cause from None
        except (BackPressureError, DeploymentUnavailableError) as error:
            raise NotReady("The cluster has no room for more: try again in a moment.") from error
        except CONNECTION_LOST as error:
            self._is_lost = True
            raise NotReady(_LOST_SENTENCE) from error
        else:
            return results
        finally:
            with suppress(*CONNECTION_LOST):
                for response in responses:
                    response.cancel()  # does nothing to one that is there

    def encode(self, image: DecodedImage, cancelled: Cancelled) -> None:
        """Do nothing: the replica that encodes an image is not the one that gets its clicks."""


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
