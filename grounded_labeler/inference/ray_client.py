"""A cluster that has the models, as a service asks it that loads none: see cluster.py."""

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
from grounded_labeler.inference.batching import Priority
from grounded_labeler.inference.executor import Cancelled
from grounded_labeler.inference.loader import model_name
from grounded_labeler.models.runtime.device import Runtime
from grounded_labeler.settings import Settings

logger = logging.getLogger(__name__)

APP = "grounded-labeler"  # what the deployment is called

# Pictures of one request that are asked about at once: the replicas share them.
_AT_ONCE = 16
_LOOK_SECONDS = 0.25  # between two looks at whether the caller is still there
_CONNECT_S = 5.0
# A picture that ends every replica it comes to must not end them all.
_ATTEMPTS = 3

# What Ray's client raises without a server; what replicas raise comes as a RayTaskError.
_LOST = (ConnectionError, grpc.RpcError, ValueError)


@dataclass(frozen=True)
class DeploymentInfo:
    """What a deployment answers with: its models' names, and what computes a replica's."""

    models: str
    device: str
    batch_size: int = _AT_ONCE
    runtime: Runtime | None = None


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


class Asker:
    """Has jobs answered by the cluster, in the place of an Executor; threads share it.

    Once the connection `is_lost` there is no other in this process: Ray cannot join twice.
    """

    def __init__(self) -> None:
        self.is_lost = False

    def run(
        self,
        _models: object,
        jobs: Sequence[InferenceRequest],
        cancelled: Cancelled,
        patience: float,
        _priority: Priority,
    ) -> list[InferenceResult]:
        """The answers to `jobs`, in order; Ray Serve's queue is first come, first served.

        Raises CallerGone when `cancelled` before they are there, NotReady when they are not
        after `patience` seconds or the cluster is gone, and what the pipeline raises.
        """
        if cancelled():
            raise CallerGone
        end = time.monotonic() + patience
        asked: list[Any] = []
        try:
            asked_of = _handle()
            asked += [asked_of.answer.remote(job) for job in jobs]
            found = []
            for number, job in enumerate(jobs):
                for attempt in range(1, _ATTEMPTS + 1):
                    try:
                        found.append(_wait(asked[number], cancelled, end))
                        break
                    except RayActorError:  # its replica has ended: another one is asked
                        if attempt == _ATTEMPTS:
                            raise
                        asked[number] = asked_of.answer.remote(job)
        except RayTaskError as error:
            # As if it had been raised here: Ray's own message is a page of traceback.
            raise error.cause from None
        except (BackPressureError, DeploymentUnavailableError) as error:
            raise NotReady("The cluster has no room for more: try again in a moment.") from error
        except _LOST as error:
            self.is_lost = True
            raise NotReady("The cluster is gone: this service looks for it anew.") from error
        else:
            return found
        finally:
            with suppress(*_LOST):
                for response in asked:
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
                raise NotReady("The cluster is busy with what came before: try again.") from None
