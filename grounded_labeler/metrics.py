"""What the service counts and times, for Prometheus.

With several workers each keeps its figures in files of a shared folder, named by
PROMETHEUS_MULTIPROC_DIR before this module is imported, and any of them adds them up.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY as THIS_PROCESS
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.multiprocess import MultiProcessCollector

from grounded_labeler.__about__ import __version__

__all__ = ["CONTENT_TYPE", "exposition"]

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# From a fetch next door to a large model on two cores.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120)

REQUESTS = Counter(
    "grounded_labeler_requests", "Requests, by route and status", ["route", "status"]
)
BUILD = Gauge(
    "grounded_labeler_build_info",
    "1, with the version of this program",
    ["version"],
    multiprocess_mode="mostrecent",
)
BUILD.labels(__version__).set(1)
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
    "Batches that a client waits for, queued or running",
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


def exposition() -> bytes:
    """All figures in Prometheus's text format, added up over the workers."""
    if FOLDER_VARIABLE not in os.environ:
        return generate_latest(THIS_PROCESS)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
