"""The models on a Ray cluster, for a service that loads none: see ray_deployment.py."""

import logging
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Self

import grpc
import ray
from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.errors import CallerGone, NotReady, SettingsError
from grounded_labeler.inference.backend import LOADING_TIMEOUT_S, BackendState, Cancelled, Priority
from grounded_labeler.inference.loader import model_name
from grounded_labeler.inference.loading import BackgroundLoad
from grounded_labeler.models.runtime.device import Runtime
from grounded_labeler.settings import Settings

logger = logging.getLogger(__name__)

APP = "grounded-labeler"  # what the deployment is called
# Raise it when InferenceRequest or InferenceResult, or what they hold, or the methods of
# Replica change: services and replicas pickle these classes for each other.
PROTOCOL = 2

# Images of one request that are sent at once: the replicas share them.
_AT_ONCE = 16
_POLL_S = 0.25  # between two checks whether the caller is still there
_CONNECT_S = 5.0
# An image that ends every replica it comes to must not end them all.
_ATTEMPTS = 3

_BUSY = "The cluster is busy with earlier requests: try again in a moment."
_LOST_SENTENCE = "The service lost the connection to the Ray cluster and reconnects."
_OTHER_VERSION = (
    "The cluster runs another version of grounded-labeler: deploy the version that runs here, "
    "with `grounded-labeler deploy`."
)

# What unpickling a class of another version raises; on a node of the cluster
# Ray wraps it in a RaySystemError.
_UNREADABLE = (AttributeError, ImportError)
# What Ray's client raises without a server; what replicas raise comes as a RayTaskError.
_LOST = (ConnectionError, grpc.RpcError, ValueError)


@dataclass(frozen=True)
class DeploymentInfo:
    """What a deployment says of itself: its models' names, and what computes a replica's."""

    models: str
    device: str
    batch_size: int = _AT_ONCE
    runtime: Runtime | None = None

    def to_message(self) -> dict[str, Any]:
        """Return it as builtin types with the protocol version: any version can read that."""
        return {"protocol": PROTOCOL, **asdict(self)}

    @classmethod
    def from_message(cls, message: object) -> Self:
        """Read what `to_message` made; raises SettingsError if another version made it."""
        theirs = message.get("protocol") if isinstance(message, dict) else None
        if not isinstance(message, dict) or theirs != PROTOCOL:
            raise SettingsError(_OTHER_VERSION)
        runtime = message["runtime"]
        return cls(
            message["models"],
            message["device"],
            message["batch_size"],
            None if runtime is None else Runtime(**runtime),
        )


def join(address: str) -> None:
    """Join the cluster at `address`, a RAY_ADDRESS, for as long as this process runs.

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
    """Join the cluster and wait for the deployment.

    Raises SettingsError when it has other models, or runs another version of this package.
    """
    said = False
    while True:
        try:
            join(settings.ray_address or "")
            served = DeploymentInfo.from_message(_handle().served.remote().result())
            break
        except (NotReady, RayError, RayServeException, *_UNREADABLE, *_LOST) as error:
            if isinstance(getattr(error, "client_exc", error), _UNREADABLE):
                raise SettingsError(_OTHER_VERSION) from error
            if not said:
                logger.warning("The cluster does not serve %s yet: %s", APP, last_line(error))
            said = True
            time.sleep(1)
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
            return response.result(timeout_s=_POLL_S)
        except TimeoutError:
            if cancelled():
                raise CallerGone from None
            if time.monotonic() > end:
                raise NotReady(_BUSY) from None
