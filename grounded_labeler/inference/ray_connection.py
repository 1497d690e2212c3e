"""The connection to a Ray cluster, and the handshake with the deployment there."""

import logging
import os
import socket
import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Self

import grpc
import ray
from pydantic import TypeAdapter
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from grounded_labeler.errors import NotReady, SettingsError
from grounded_labeler.models.runtime.device import Runtime
from grounded_labeler.settings import Settings
from grounded_labeler.weights.summary import OfferedSummary

logger = logging.getLogger(__name__)

APP = "grounded-labeler"  # what the deployment is called
# Raise it when the requests or InferenceResult, or what they hold, or the methods of
# Replica change: services and replicas pickle these classes for each other.
PROTOCOL = 7

# Images of one request that are sent at once: the replicas share them.
_AT_ONCE = 16
_CONNECT_S = 5.0
_OTHER_VERSION = (
    "The cluster runs another version of grounded-labeler: deploy the version that runs here, "
    "with `grounded-labeler deploy`."
)

# What unpickling a class of another version raises; on a node of the cluster Ray wraps it in a
# RaySystemError.
_UNREADABLE = (AttributeError, ImportError)
# What Ray's client raises without a server; what replicas raise comes as a RayTaskError.
CONNECTION_LOST = (ConnectionError, grpc.RpcError, ValueError)


@dataclass(frozen=True)
class DeploymentInfo:
    """What a deployment says of itself.

    Attributes:
        pairs: the names of its pairs of models, for people.
        models: what is known of the models, whose files may be there alone.
        device: what a replica's models run on.
        batch_size: how many images are sent at once.
        runtime: what computes a replica's models, where it is known.
    """

    pairs: tuple[str, ...]
    models: OfferedSummary
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
        return TypeAdapter(cls).validate_python(message)


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

    Raises SettingsError when it lacks some of the models, or runs another version of this package.
    """
    said = False
    while True:
        try:
            join(settings.ray_address or "")
            info = _read_info()
            break
        except (NotReady, RayError, RayServeException, *CONNECTION_LOST) as error:
            if not said:
                logger.warning("The cluster does not serve %s yet: %s", APP, last_line(error))
            said = True
            time.sleep(1)
    if not info.models.has(settings.offered):
        wanted = ", ".join(pair.name for pair in settings.offered.pairs)
        raise SettingsError(
            f"The cluster serves {', '.join(info.pairs)}, and the settings here ask for {wanted}: "
            "set DETECTOR, SEGMENTER and MODELS alike in both."
        )
    return info


def _read_info() -> DeploymentInfo:
    response = deployment_handle().served.remote()
    try:
        message = response.result()
    except (RayError, *_UNREADABLE) as error:
        if isinstance(getattr(error, "client_exc", error), _UNREADABLE):
            raise SettingsError(_OTHER_VERSION) from error
        raise
    return DeploymentInfo.from_message(message)


@cache
def _kept_handle() -> DeploymentHandle[Any]:
    return serve.get_app_handle(APP)


def deployment_handle() -> DeploymentHandle[Any]:
    """Return the process's one handle: Ray Serve scales by the requests that wait at it.

    Raises what Ray raises where the cluster or the deployment cannot be reached.
    """
    serve.get_app_handle(APP)  # raises where the cluster is gone; the one that is kept would wait
    return _kept_handle()
