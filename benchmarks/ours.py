"""Ours: the whole application in this process, asked through its routes, each stage timed."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from werkzeug.test import TestResponse

from benchmarks import asking
from benchmarks.asking import Request
from benchmarks.full_size import MODELS, SEGMENTER_ENGINES, Folders
from benchmarks.timing import Seconds, Stopwatch
from grounded_labeler import metrics
from grounded_labeler.cache import ByteCache
from grounded_labeler.images.fetcher import Fetcher
from grounded_labeler.inference.local import LocalBackend
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.inference.slots import RequestSlots
from grounded_labeler.label_studio import region_values, task_images
from grounded_labeler.label_studio.backend import GroundedLabeler
from grounded_labeler.models.detectors import Detector, Options, export_detector, load_detector
from grounded_labeler.models.export import EDITION
from grounded_labeler.models.observer import Stage
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import Segmenter, export_segmenter, load_segmenter
from grounded_labeler.prompts.history import PromptHistory
from grounded_labeler.prompts.sqlite import SQLiteStore
from grounded_labeler.server.app import create_app
from grounded_labeler.service import Service
from grounded_labeler.settings import Settings

SETTINGS = Settings.from_env(asking.SETTINGS)

Regions = list[dict[str, Any]]

_BACKBONE, _FUSION = "detect: backbone", "detect: fusion"
_NAMES = {
    Stage.PREPARE: "resize",
    Stage.ENCODE_TEXT: "text",
    Stage.ENCODE_IMAGE: _BACKBONE,
    Stage.DECODE: _FUSION,
    Stage.SELECT: "NMS",
    Stage.SEGMENT_ENCODE: "segment-encode",
    Stage.SEGMENT_DECODE: "segment-decode",
    Stage.UPSCALE: "mask resize",
}


@dataclass(frozen=True, eq=False)
class Served:
    """What one request took and gave.

    `seconds` has a value for each stage and for `whole`; `runs` is how often each part of a
    model ran, those that did not left out; `regions` are those of each task.
    """

    seconds: Seconds
    runs: Mapping[str, int]
    regions: list[Regions]


class ModelStages:
    """An Observer of the models that adds up the seconds of each stage in a stopwatch."""

    def __init__(self) -> None:
        self._watch: Stopwatch | None = None

    def stage(self, stage: Stage) -> AbstractContextManager[None]:
        """See Observer.stage."""
        return nullcontext() if self._watch is None else self._watch.stage(_NAMES[stage])

    @contextmanager
    def timed_by(self, watch: Stopwatch) -> Iterator[None]:
        """While open, time the stages with `watch`."""
        self._watch = watch
        try:
            yield
        finally:
            self._watch = None


class Ours:
    """The application on these models, which store what they compute of images in `cache`."""

    def __init__(
        self, detector: Detector, segmenter: Segmenter, cache: ByteCache, observer: ModelStages
    ) -> None:
        """`observer` is the one that `detector` and `segmenter` were loaded with."""
        self.detector, self.segmenter, self._observer = detector, segmenter, observer
        self._folder = tempfile.TemporaryDirectory()  # removed with this object
        self.pipeline = Pipeline(detector, segmenter, cache, observer=observer)
        backend = LocalBackend(lambda: self.pipeline, InferenceQueue(SETTINGS.model_deadline))
        backend.wait_until_ready()
        self._fetcher = Fetcher(allowed_hosts=SETTINGS.allowed_hosts)
        prompts = PromptHistory(SQLiteStore(Path(self._folder.name) / "prompts.sqlite3"))
        slots = RequestSlots(SETTINGS.threads)
        service = Service(SETTINGS, backend, self._fetcher, prompts, slots, cache)
        self._app = create_app(GroundedLabeler.bound_to(service), service)

    @classmethod
    def load(cls, folders: Folders, compute: Compute, *, exported: bool = True) -> Self:
        """The full-size models, computed by OpenVINO when `exported`, else by torch.

        Raises SettingsError when the CPU cannot compute in that precision.
        """
        graphs = export(folders) if exported else None
        cache = ByteCache(SETTINGS.cache_bytes)
        observer = ModelStages()
        options = Options(
            compute, exported=graphs and graphs / "detector", cache=cache, observer=observer
        )
        return cls(
            load_detector("groundingdino", folders.detector, options, folders.tokenizer),
            load_segmenter(
                SEGMENTER_ENGINES[folders.segmenter.name],
                folders.segmenter,
                compute,
                exported=graphs and graphs / folders.segmenter.name,
                cache=cache,
                observer=observer,
            ),
            cache,
            observer,
        )

    def post(self, request: Request) -> list[Regions]:
        """The regions of each task of a request to /predict; any number of threads may ask."""
        return _regions(self._send(request))

    def ask(self, request: Request) -> Served:
        """`post`, timed; one at a time."""
        watch, before = Stopwatch(self.detector.device), model_runs()
        with self._watched(watch), watch.whole():
            response = self._send(request)
        found = _regions(response)
        after = model_runs()
        runs = {part: runs - before.get(part, 0) for part, runs in after.items()}
        seconds = watch.seconds
        if _FUSION in seconds:
            seconds["detect"] = seconds.get(_BACKBONE, 0.0) + seconds[_FUSION]
        return Served(seconds, {part: run for part, run in runs.items() if run}, found)

    def _send(self, request: Request) -> TestResponse:
        return self._app.test_client().post("/predict", json=request)

    @contextmanager
    def _watched(self, watch: Stopwatch) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(self._observer.timed_by(watch))
            for owner, function, stage in (
                (self._fetcher, "fetch", "fetch"),
                (task_images, "decode", "decode"),
                (region_values, "encode_rle", "RLE"),
                (self._app.json, "dumps", "JSON"),
            ):
                stack.enter_context(watch.calls(owner, function, stage))
            yield


def _regions(response: TestResponse) -> list[Regions]:
    """Those of each task; raises RuntimeError when a task has no answer."""
    answers = response.get_json().get("results", [])
    if response.status_code != 200 or any("error" in answer for answer in answers):
        raise RuntimeError(f"/predict answered {response.status_code}: {response.text[:500]}")
    return [
        [region for region in answer["result"] if region["type"] != "textarea"]
        for answer in answers
    ]


def export(folders: Folders, root: Path = MODELS) -> Path:
    """The folder of the models' graphs for OpenVINO, made once: two minutes.

    Graphs older than the weights, or made in another way, are made anew.
    """
    into = _exported(root)
    if is_older(into / "detector", folders.detector):
        export_detector("groundingdino", folders.detector, into / "detector", folders.tokenizer)
    export_segmenter_once(folders.segmenter, root)
    return into


def export_segmenter_once(segmenter: Path, root: Path = MODELS) -> Path:
    """The folder of a segmenter's graphs, as `export` makes it."""
    graphs = _exported(root) / segmenter.name
    if is_older(graphs, segmenter):
        export_segmenter(SEGMENTER_ENGINES[segmenter.name], segmenter, graphs)
    return graphs


def _exported(root: Path) -> Path:
    return root / f"exported-{version('openvino')}-{EDITION}"


def is_older(graphs: Path, weights: Path) -> bool:
    """Whether the graphs in a folder are older than the weights, or not there."""
    made = [path.stat().st_mtime for path in graphs.glob("*.xml")]
    return min(made, default=0.0) < max(path.stat().st_mtime for path in weights.iterdir())


def model_runs() -> dict[str, int]:
    """How often each part of a model ran in this process."""
    samples = [sample for metric in metrics.RUNS.collect() for sample in metric.samples]
    return {
        sample.labels["part"]: int(sample.value)
        for sample in samples
        if sample.name.endswith("_total")
    }
