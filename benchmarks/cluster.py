"""Images an hour of one replica and of two, beside this process alone."""

import time
from collections.abc import Sequence
from pathlib import Path

import ray
from ray import serve

from benchmarks.bench import Bench
from benchmarks.full_size import make_models
from benchmarks.images import draw
from benchmarks.ours import SETTINGS, Ours
from benchmarks.report import Record
from grounded_labeler.core.inference import InferenceRequest, InferenceResult, Request
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import DecodedImage, Detections, Thresholds
from grounded_labeler.inference.backend import Priority, never_cancelled
from grounded_labeler.inference.local import LocalBackend
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.inference.ray_client import RayBackend
from grounded_labeler.inference.ray_connection import APP
from grounded_labeler.inference.ray_deployment import Replica, ScalingConfig, application
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime import device as compute
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.settings import Settings

_SIZE_WH, _BOXES, _IMAGES = (640, 480), 10, 12
_PATIENCE_S = 3600.0
_FULL_SIZE, _WAIT_S = "full size", 0.5


class FullSizeReplica(Replica):
    """With the full-size models of random weights, which are in no catalog."""

    def load(self, settings: Settings, queue: InferenceQueue) -> LocalBackend:
        threads = settings.cpu_threads or 1
        compute.limit_threads(threads)
        pipeline = Ours.load(make_models(), Compute("cpu", threads=threads)).pipeline
        pipeline.warm_up()
        return LocalBackend(lambda: pipeline, queue)


class _Waiting(Pipeline):
    """Models that take a while and no core of this machine, as those on a GPU do."""

    device, batch_size, runtime = "elsewhere", 1, None

    def __init__(self) -> None:
        pass

    def release(self) -> None:
        pass

    def run(self, requests: Sequence[Request]) -> list[InferenceResult]:
        jobs = [one for one in requests if isinstance(one, InferenceRequest)]
        time.sleep(_WAIT_S * len(jobs))
        size_hw = (_SIZE_WH[1], _SIZE_WH[0])
        return [
            InferenceResult(
                Detections.empty(), [], size_hw, (0.0,) * len(job.prompt.phrases), _WAIT_S, 0
            )
            for job in jobs
        ]


class WaitingReplica(Replica):
    """What the cluster itself adds is all that can be seen of it."""

    def load(self, settings: Settings, queue: InferenceQueue) -> LocalBackend:
        return LocalBackend(_Waiting, queue)


def measure(bench: Bench) -> list[Record]:
    """A record for each way to have the same images answered, boxes and ten masks each."""
    count, threads = 2 if bench.is_quick else _IMAGES, bench.compute.threads
    bench.say("cluster: this process")
    records = [_here(bench.ours.pipeline, count, threads)]
    root = str(Path(__file__).parents[1])
    ray.init(
        address="local", num_cpus=2 * threads, include_dashboard=False, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": root}},
    )  # fmt: skip
    serve.start(http_options={"location": "NoServer"})
    try:
        for replicas, cores in ((1, 1), (2, 1), (1, threads)):
            bench.say(f"cluster: {replicas} replicas of {cores} threads")
            records.append(_there(FullSizeReplica, replicas, cores, count))
        for replicas in (1, 2):
            bench.say(f"cluster: {replicas} replicas that wait")
            records.append(_there(WaitingReplica, replicas, 1, 5 * count))
    finally:
        ray.shutdown()
    alone = {one["models"]: one for one in records if one["replicas"] == one["threads each"] == 1}
    return [
        {
            **one,
            "to one replica of one thread": one["images/h"] / alone[one["models"]]["images/h"],
        }
        for one in records
    ]


def _here(pipeline: Pipeline, count: int, threads: int) -> Record:
    pipeline.run(_jobs("warm", 1))
    begin = time.monotonic()
    for job in _jobs("here", count):
        pipeline.run([job])
    return _record(_FULL_SIZE, 0, threads, count, time.monotonic() - begin)


def _there(replica: type[Replica], replicas: int, cores: int, count: int) -> Record:
    scale = ScalingConfig(min_replicas=replicas, max_replicas=replicas, cpus=cores)
    serve.run(application(scale, SETTINGS, replica), name=APP, route_prefix=None)
    backend = RayBackend(SETTINGS)
    backend.wait_until_ready(_PATIENCE_S)
    # Both get requests before it counts.
    how = (never_cancelled, _PATIENCE_S, Priority.PREANNOTATION)
    backend.run(_jobs(f"warm {replicas} {cores}", 2 * replicas), *how)
    begin = time.monotonic()
    backend.run(_jobs(f"{replicas} {cores}", count), *how)
    models = _FULL_SIZE if replica is FullSizeReplica else f"that take {_WAIT_S} s"
    record = _record(models, replicas, cores, count, time.monotonic() - begin)
    serve.delete(APP)
    return record


def _record(models: str, replicas: int, threads: int, count: int, seconds: float) -> Record:
    return {
        "models": models,
        "replicas": replicas,
        "threads each": threads,
        "images": count,
        "s an image": seconds / count,
        "images/h": 3600 * count / seconds,
    }


def _jobs(key: str, count: int) -> list[InferenceRequest]:
    """Of images that nobody has seen."""
    limits = Thresholds(box=0, text=0, nms=1, max_regions=_BOXES)
    prompt = parse_prompt("red car . person", ())
    images = [DecodedImage(draw(_SIZE_WH), f"{key} {number}") for number in range(count)]
    return [InferenceRequest(image, prompt, (), limits, with_masks=True) for image in images]
