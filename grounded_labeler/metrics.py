"""What the service counts and times, for Prometheus.

With several workers each keeps its figures in files of a shared folder, named by
PROMETHEUS_MULTIPROC_DIR before this module is imported, and any of them adds them up.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import REGISTRY as THIS_PROCESS
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "exposition"]

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# From a fetch next door to a large model on two cores.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120)

REQUESTS = Counter(
    "grounded_labeler_requests", "Requests, by route and status", ["route", "status"]
)
REQUEST_SECONDS = Histogram(
    "grounded_labeler_request_seconds",
    "Seconds from a request to its response, by route",
    ["route"],
    buckets=_SECONDS,
)
IN_FLIGHT = Gauge(
    "grounded_labeler_requests_in_flight",
    "Requests that have no response yet",
    multiprocess_mode="livesum",
)
TASKS = Counter("grounded_labeler_tasks", "Tasks, by whether they got a prediction", ["outcome"])
REGIONS = Counter("grounded_labeler_regions", "Regions sent to Label Studio")
FAILURES = Counter(
    "grounded_labeler_failures", "Images and requests that failed, by cause", ["cause"]
)
STAGES = Histogram(
    "grounded_labeler_stage_seconds", "Seconds per image and stage", ["stage"], buckets=_SECONDS
)
QUEUE = Gauge(
    "grounded_labeler_queue_depth",
    "Batches for the models, queued or running, by the kind of request",
    ["kind"],
    multiprocess_mode="livesum",
)
AT_THE_MODELS = Gauge(
    "grounded_labeler_batches_at_models",
    "Batches running on the models",
    multiprocess_mode="livesum",
)

RUNS = Counter("grounded_labeler_model_runs", "Runs of each part of a model", ["part"])
CACHE = Counter(
    "grounded_labeler_cache_lookups",
    "Lookups in the feature cache, by kind and outcome",
    ["kind", "outcome"],
)
CACHE_BYTES = Gauge(
    "grounded_labeler_cache_bytes",
    "Bytes in the feature cache",
    multiprocess_mode="livesum",
)

RESIDENT = Gauge(
    "grounded_labeler_resident_memory_bytes",
    "Bytes of the server's processes in RAM, after the last request of each",
    multiprocess_mode="livesum",
)
DEVICE_MEMORY = Gauge(
    "grounded_labeler_device_memory_bytes",
    "Bytes of GPU memory that arrays take (allocated) and that PyTorch holds for them (reserved)",
    ["state"],
    multiprocess_mode="livesum",
)


class Stopwatch:
    """`seconds` is how long the block took, once it has been left."""

    seconds = 0.0


@contextmanager
def timed(stage: str) -> Iterator[Stopwatch]:
    """Time a stage of one image, also when it fails."""
    watch, start = Stopwatch(), time.perf_counter()
    try:
        yield watch
    finally:
        watch.seconds = time.perf_counter() - start
        STAGES.labels(stage).observe(watch.seconds)


class _OfThisProcess(Collector):
    """What the process that is asked says of itself, added up over nothing."""

    def __init__(self, build: Mapping[str, str], state: str, states: Iterable[str]) -> None:
        self._build, self._state, self._states = build, state, states

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "grounded_labeler_build_info",
            "1, with the version of this program, its models and what they run on",
            labels=list(self._build),
        )
        info.add_metric(list(self._build.values()), 1)
        yield info
        models = GaugeMetricFamily(
            "grounded_labeler_models_state",
            "1 for the state that the models are in, 0 for the others",
            labels=["state"],
        )
        for state in self._states:
            models.add_metric([state], state == self._state)
        yield models


def exposition(build: Mapping[str, str], state: str, states: Iterable[str]) -> bytes:
    """Return all figures in Prometheus's text format, added up over the workers.

    Args:
        build: labels that say what runs here.
        state: what the models of this process are doing.
        states: all that they may be doing.
    """
    own = CollectorRegistry()
    own.register(_OfThisProcess(build, state, states))
    everything = THIS_PROCESS
    if FOLDER_VARIABLE in os.environ:
        everything = CollectorRegistry()
        MultiProcessCollector(everything)  # type: ignore[no-untyped-call]
    return generate_latest(everything) + generate_latest(own)
