"""The models on a Ray cluster, for a service that loads none: see ray_deployment.py."""

import logging
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import grpc
import ray
from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.errors import CallerGone, NotReady, SettingsError
from grounded_labeler.inference.backend import LOADING_TIMEOUT_S, BackendState
from grounded_labeler.inference.batching import Priority
from grounded_labeler.inference.loader import model_name
from grounded_labeler.inference.loading import BackgroundLoad
from grounded_labeler.inference.queue import Cancelled
from grounded_labeler.models.runtime.device import Runtime
from grounded_labeler.settings import Settings

logger = logging.getLogger(__name__)

APP = "grounded-labeler"  # what the deployment is called
# To be raised when InferenceRequest, InferenceResult or DeploymentInfo change: services and
# replicas pickle them for each other.
PROTOCOL = 2

# Images of one request that are asked about at once: the replicas share them.
_AT_ONCE = 16
_LOOK_SECONDS = 0.25  # between two looks at whether the caller is still there
_CONNECT_S = 5.0
# An image that ends every replica it comes to must not end them all.
_ATTEMPTS = 3

_BUSY = "The cluster is busy with earlier requests: try again in a moment."
_LOST_SENTENCE = "The service lost the connection to the Ray cluster and reconnects."

# What Ray's client raises without a server; what replicas raise comes as a RayTaskError.
_LOST = (ConnectionError, grpc.RpcError, ValueError)


@dataclass(frozen=True)
class DeploymentInfo:
    """What a deployment answers with: its models' names, and what computes a replica's."""

    models: str
    device: str
    batch_size: int = _AT_ONCE
    runtime: Runtime | None = None
    protocol: int = PROTOCOL


def join(address: str) -> None:
    """Ask the cluster at `address`, a RAY_ADDRESS, from now on.

    Raises NotReady when none is there, or it does not let this process in.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        # Ray itself would try for minutes.
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
        # Ray reads it; what matters of its log comes as an error.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init(
            address=address, ignore_reinit_error=True,
            log_to_driver=False, logging_level=logging.ERROR,
        )  # fmt: skip
    except (OSError, RayError, RuntimeError) as error:
        raise NotReady(
            f"The Ray cluster at {address} cannot be joined: {last_line(error)} "
            "(one with a token needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here, too)."
        ) from error


def last_line(error: Exception) -> str:
    """What is wrong; above it Ray repeats its own traceback."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def connect(settings: Settings) -> DeploymentInfo:
    """Join the cluster and wait for the deployment; raises SettingsError when it is another's."""
    said = False
    while True:
        try:
            join(settings.ray_address or "")
            served: DeploymentInfo = _handle().served.remote().result()
            break
        except (NotReady, RayError, RayServeException, *_LOST) as error:
            if not said:
                logger.warning("The cluster does not serve %s yet: %s", APP, last_line(error))
            said = True
            time.sleep(1)
    if getattr(served, "protocol", 1) != PROTOCOL:
        raise SettingsError(
            "The cluster serves another version of grounded-labeler: run `grounded-labeler deploy` "
            "of the version that runs here."
        )
    wanted = model_name(settings)
    if served.models != wanted:
        raise SettingsError(
            f"The cluster serves {served.models}, and the settings here ask for {wanted}: "
            "set DETECTOR and SEGMENTER alike in both."
        )
    return served


@cache
def _kept_handle() -> DeploymentHandle[Any]:
    return serve.get_app_handle(APP)


def _handle() -> DeploymentHandle[Any]:
    """One for all of a process: it counts what waits, by which Ray Serve decides on replicas."""
    serve.get_app_handle(APP)  # raises where the cluster is gone; the one that is kept would wait
    return _kept_handle()


class RayBackend:
    """An InferenceBackend whose models are those of a Ray cluster.

    Once the connection is lost there is no other in this process: Ray cannot join twice.
    """

    def __init__(self, settings: Settings) -> None:
        """Connect to the cluster of the settings, in the background."""
        self._is_lost = False
        self._loading = BackgroundLoad(lambda: connect(settings), model_name(settings))

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
        requests: Sequence[InferenceRequest],
        cancelled: Cancelled,
        timeout_s: float,
        priority: Priority,
    ) -> list[InferenceResult]:
        """Return the results of `requests`, in order: see InferenceBackend."""
        self.wait_until_ready(0)
        if cancelled():
            raise CallerGone
        end = time.monotonic() + timeout_s
        responses: list[Any] = []
        try:
            deployment = _handle()
            responses += [deployment.answer.remote(request) for request in requests]
            results = []
            for number, request in enumerate(requests):
                for attempt in range(1, _ATTEMPTS + 1):
                    try:
                        results.append(_wait(responses[number], cancelled, end))
                        break
                    except RayActorError:  # its replica has ended: another one takes the request
                        if attempt == _ATTEMPTS:
                            raise
                        responses[number] = deployment.answer.remote(request)
        except RayTaskError as error:
            # As if it had been raised here: Ray's own message is a page of traceback.
            raise error.cause from None
        except (BackPressureError, DeploymentUnavailableError) as error:
            raise NotReady("The cluster has no room for more: try again in a moment.") from error
        except _LOST as error:
            self._is_lost = True
            raise NotReady(_LOST_SENTENCE) from error
        else:
            return results
        finally:
            with suppress(*_LOST):
                for response in responses:
                    response.cancel()  # does nothing to one that is there


def _wait(
    response: DeploymentResponse[InferenceResult], cancelled: Cancelled, end: float
) -> InferenceResult:
    while True:
        try:
            return response.result(timeout_s=_LOOK_SECONDS)
        except TimeoutError:
            if cancelled():
                raise CallerGone from None
            if time.monotonic() > end:
                raise NotReady(
                    "The cluster is busy with earlier requests: try again in a moment."
                ) from None
