"""The models as a deployment of Ray Serve, and the front that asks it.

`python -m grounded_labeler.cluster` deploys them on the cluster at RAY_ADDRESS. A service that
has RAY_ADDRESS set loads no models: it sends pictures there. Needs requirements-ray.txt; what
Ray Serve does is described at https://docs.ray.io/en/latest/serve.
"""

import argparse
import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import ray
from pydantic import BaseModel, PositiveInt, SecretStr
from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from grounded_labeler import compute
from grounded_labeler.cache import ByteCache
from grounded_labeler.errors import CallerGone, GroundedLabelerError, NotReady, SettingsError
from grounded_labeler.executor import Executor, IsGone
from grounded_labeler.pipeline import Found, Job
from grounded_labeler.service import load_pipeline, model_name
from grounded_labeler.settings import Settings

logger = logging.getLogger(__name__)

APP = "grounded-labeler"

# Pictures of one request that are asked about at once: the replicas share them.
_AT_ONCE = 16
_GPU_BATCH = 8  # what a detector takes at once on a GPU
_WAIT_FOR_MORE_S = 0.01  # for a batch to fill, a fraction of what it takes
_LOOK_SECONDS = 0.25  # between two looks at whether the caller is still there
_CONNECT_S = 5.0
# A picture that ends every replica it comes to must not end them all.
_ATTEMPTS = 3


class Scale(BaseModel):
    """How many replicas there are, by how much there is to do, and what each one is given."""

    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt = 1
    cpus: PositiveInt = 1
    gpus: float = 0.0


@dataclass(frozen=True)
class Served:
    """What a deployment answers with: its models' names, and the device of a replica."""

    models: str
    device: str
    batch_size: int = _AT_ONCE


class Replica:
    """One copy of the models, loaded as a service of its own would load it."""

    def __init__(self, settings: Settings) -> None:
        self._models = model_name(settings)
        self._pipeline = load_pipeline(settings, ByteCache(settings.cache_bytes))
        self._executor = Executor(1, settings.model_deadline, compute.release_memory)
        cast(Any, self._batch).set_max_batch_size(self._pipeline.batch_size)

    async def served(self) -> Served:
        return Served(self._models, f"a cluster ({self._pipeline.device})")

    async def answer(self, job: Job) -> Found:
        """Raises what the pipeline raises for this job."""
        found: Found | Exception = await cast(Any, self._batch)(job)
        if isinstance(found, Exception):
            raise found
        return found

    @serve.batch(batch_wait_timeout_s=_WAIT_FOR_MORE_S)
    async def _batch(self, jobs: list[Job]) -> list[Found | Exception]:
        return await asyncio.to_thread(self._executor.run, lambda: self._each(jobs))

    def _each(self, jobs: Sequence[Job]) -> list[Found | Exception]:
        try:
            return list(self._pipeline.run(jobs))
        except Exception as error:  # noqa: BLE001 - raised where the answer is waited for
            if len(jobs) == 1:
                return [error]
            # Whose job it was is not known: it must not take the others' with it.
            return [answer for job in jobs for answer in self._each([job])]

    def check_health(self) -> None:
        """Raises when the models are stuck: Ray Serve puts another replica in this one's place."""
        self._executor.refuse_if_stuck()


def app(scale: Scale) -> serve.Application:
    """The application, for `serve run` and `serve deploy`; the models are those of the settings."""
    settings = Settings.from_env(os.environ)
    batch = _GPU_BATCH if scale.gpus else 1
    deployment = serve.deployment(
        ray_actor_options={"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        # One batch at the models and one that waits, so that they never do.
        max_ongoing_requests=2 * batch,
        autoscaling_config={
            "min_replicas": scale.min_replicas,
            "max_replicas": max(scale.min_replicas, scale.max_replicas),
            "target_ongoing_requests": 1.5 * batch,
        },
        health_check_period_s=5,
    )(Replica)
    # A replica fetches nothing and lets nobody in: no secret need travel there.
    own = {"cpu_threads": scale.cpus, "ray_address": None}
    secrets = [name for name, value in settings if isinstance(value, SecretStr)]
    return deployment.bind(settings.model_copy(update=own | dict.fromkeys(secrets)))


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
            f"The Ray cluster at {address} cannot be joined: {error} "
            "(one with a token needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here, too)."
        ) from error


def connect(settings: Settings) -> Served:
    """Join the cluster and wait for the deployment; raises SettingsError when it is another's."""
    said = False
    while True:
        try:
            join(settings.ray_address or "")
            served: Served = _handle().served.remote().result()
            break
        except (NotReady, RayServeException, RayActorError) as error:
            if not said:
                logger.warning("The cluster does not serve %s yet: %s", APP, error)
            said = True
            time.sleep(1)
    wanted = model_name(settings)
    if served.models != wanted:
        raise SettingsError(
            f"The cluster serves {served.models}, and the settings here ask for {wanted}: "
            "set DETECTOR and SEGMENTER alike in both."
        )
    return served


def _handle() -> DeploymentHandle[Any]:
    return serve.get_app_handle(APP)


class Asker:
    """Has jobs answered by the cluster, in the place of a Batcher; threads share it."""

    def run(
        self, _models: object, jobs: Sequence[Job], is_gone: IsGone, patience: float
    ) -> list[Found]:
        """The answers to `jobs`, in order.

        Raises CallerGone when `is_gone` before they are there, NotReady when they are not
        after `patience` seconds, and what the pipeline raises.
        """
        if is_gone():
            raise CallerGone
        end, handle = time.monotonic() + patience, _handle()
        asked: list[Any] = [handle.answer.remote(job) for job in jobs]
        try:
            for number, job in enumerate(jobs):
                for attempt in range(1, _ATTEMPTS + 1):
                    try:
                        _wait(asked[number], is_gone, end)
                        break
                    except RayActorError:  # its replica has ended: another one is asked
                        if attempt == _ATTEMPTS:
                            raise
                        asked[number] = handle.answer.remote(job)
            return [response.result() for response in asked]
        except RayTaskError as error:
            # As if it had been raised here: Ray's own message is a page of traceback.
            raise error.cause from None
        except (BackPressureError, DeploymentUnavailableError) as error:
            raise NotReady("The cluster has no room for more: try again in a moment.") from error
        finally:
            for response in asked:
                response.cancel()  # does nothing to one that is there


def _wait(response: DeploymentResponse[Found], is_gone: IsGone, end: float) -> None:
    while True:
        try:
            response.result(timeout_s=_LOOK_SECONDS)
        except TimeoutError:
            if is_gone():
                raise CallerGone from None
            if time.monotonic() > end:
                raise NotReady("The cluster is busy with what came before: try again.") from None
        else:
            return


def main(argv: Sequence[str] | None = None) -> int:
    """Deploy the models on the cluster at RAY_ADDRESS, where they stay; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m grounded_labeler.cluster", description=__doc__)
    parser.add_argument("--min-replicas", type=int, default=1, help="copies of the models")
    parser.add_argument("--max-replicas", type=int, default=1, help="when there is much to do")
    parser.add_argument("--cpus", type=int, default=1, help="cores of each replica")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs of each replica, 0.5 is half")
    scale = Scale.model_validate(vars(parser.parse_args(argv)))
    try:
        settings = Settings.from_env(os.environ)
        if settings.ray_address is None:
            raise SettingsError(
                "RAY_ADDRESS must say where the cluster is: `ray start --head` starts one."
            )
        join(settings.ray_address)
        # Pictures come over handles: nothing of it is to be reached over HTTP.
        serve.start(http_options={"location": "NoServer"})
        serve.run(app(scale), name=APP, route_prefix=None)
    except (GroundedLabelerError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    # As the module that replicas import, not as __main__, which they do not have.
    from grounded_labeler.cluster import main as deploy

    sys.exit(deploy())
