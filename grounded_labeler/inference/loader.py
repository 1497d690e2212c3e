"""The chosen models, verified and loaded on the best device there is."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, cast

from grounded_labeler.cache import ByteCache, Cache
from grounded_labeler.errors import SettingsError
from grounded_labeler.inference.parts import LoadedDetector, LoadedModel, LoadedSegmenter, Part
from grounded_labeler.models import export as exports
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime import device as compute
from grounded_labeler.models.runtime.device import Compute, Precision
from grounded_labeler.models.runtime.probe import Machine, machine
from grounded_labeler.models.sam3 import load_sam3
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.settings import Settings
from grounded_labeler.settings_types import PrecisionChoice
from grounded_labeler.weights import checksums
from grounded_labeler.weights import choice as names
from grounded_labeler.weights.choice import ModelChoice, chosen_models
from grounded_labeler.weights.model import Model
from grounded_labeler.weights.summary import PairSummary, summarize

DeviceChoice = Literal["auto", "cpu", "cuda"]

logger = logging.getLogger(__name__)


def check_models(settings: Settings) -> None:
    """Raise WeightsError or SettingsError when what the models need is not there.

    That is their weights or, where a cluster has them, Ray.
    """
    if settings.ray_address is None:
        check_weights(settings)
    else:
        check_ray("RAY_ADDRESS")


def check_ray(what: str) -> None:
    """Raise SettingsError that says how to get Ray, which `what` needs, when it is not there."""
    if find_spec("ray") is None:
        raise SettingsError(f"{what} needs Ray: pip install --no-deps -r requirements-ray.txt.")


def check_weights(settings: Settings) -> None:
    """Raise WeightsError naming the missing files and the ways out; reads no file's content."""
    models = settings.offered.models(settings.model_dir)
    checksums.check_present(models, settings.model_dir)


def check_compute(settings: Settings, look: Callable[[], Machine] = machine) -> None:
    """Raise SettingsError when this machine has no GPU or numbers that the settings want.

    Only where they want some does it `look` at the machine, in another process.
    """
    precision = settings.precision
    if settings.ray_address or not (settings.require_gpu or precision not in {"auto", "fp32"}):
        return
    try:
        here = look()
    except RuntimeError as error:
        raise SettingsError(
            f"What this machine computes with cannot be found out: {error}."
        ) from None
    if settings.require_gpu and here.device != "cuda":
        reason = (
            "PyTorch finds no GPU: see that `nvidia-smi` shows one here and that the container is "
            "given it (--gpus all)"
            if here.has_torch
            else "PyTorch is not installed, which computes on GPUs: take the image for GPUs"
        )
        raise SettingsError(f"REQUIRE_GPU=true, but {reason}, or unset it.")
    _precision_on(here.device, precision)
    # Where there are no graphs, PyTorch computes in bf16 on any CPU.
    by_openvino = not here.has_torch or (settings.model_dir / "openvino").is_dir()
    if here.device == "cpu" and not here.has_bf16 and (precision == "mixed" or by_openvino):
        raise SettingsError(f"PRECISION={precision}: this CPU has no bf16, use fp32 or auto.")


def cpu_threads(settings: Settings) -> int:
    """Return how many threads the models of each process compute with."""
    return settings.cpu_threads or max(1, compute.usable_cores() // settings.workers)


def loader_of(settings: Settings, cache: ByteCache) -> "FileLoader":
    """Return what loads models as the settings say."""
    return FileLoader(
        settings.model_dir,
        cache,
        precision=settings.precision,
        cpu_threads=cpu_threads(settings),
        detect_size=settings.detect_size,
        compiled=None if settings.data_dir is None else settings.data_dir / "compiled",
    )


def load_pipeline(settings: Settings, cache: ByteCache) -> Pipeline:
    """Load the default models of the settings; raises as `FileLoader.load_pair` does."""
    return loader_of(settings, cache).load_pair(settings.choice)


class FileLoader:
    """Loads models from their files, verified, on the best device there is."""

    def __init__(
        self,
        model_dir: Path,
        cache: ByteCache,
        *,
        device: DeviceChoice = "auto",
        precision: PrecisionChoice = "auto",
        cpu_threads: int | None = None,
        detect_size: int | None = None,
        compiled: Path | None = None,
    ) -> None:
        """Say how models are loaded.

        Args:
            model_dir: folder of the weights.
            cache: keeps the features of the last images, those of each model apart.
            device: "auto" takes a GPU where there is one.
            precision: "auto" is fp16 on a GPU and fp32 on a CPU; "mixed" needs a CPU with bf16
                and the models' graphs.
            cpu_threads: threads that the models compute with; all usable cores if None.
            detect_size: pixels of an image's shorter side in the detector; the model's own if
                None.
            compiled: folder for compiled graphs, where that of the models cannot be written to.
        """
        self._compiled = compiled
        self._model_dir, self._cache, self._detect_size = model_dir, cache, detect_size
        self._device, self._precision, self._threads = device, precision, cpu_threads
        # The weights that were loaded last, by a name that has their digest in it.
        self._loaded: dict[Part, str] = {}

    def load_pair(self, choice: ModelChoice) -> Pipeline:
        """Verify the files of a pair, load it and run it once.

        Raises WeightsError naming the files that are missing or damaged, SettingsError for an
        unknown model and for what the device cannot do.
        """
        parts = self.parts(choice)
        self.verify(parts)
        pipeline = self.pipeline(choice, [self.load(part) for part in parts])
        pipeline.warm_up()
        return pipeline

    def parts(self, choice: ModelChoice) -> tuple[Part, ...]:
        """Return the detector and, if there is one, the segmenter; raises as `load_pair` does.

        One model that is both has one image encoder for both.
        """
        detector, *segmenters = chosen_models(choice, self._model_dir)
        if detector in segmenters:
            return (Part("both", choice.detector),)
        first = Part("detector", choice.detector, choice.detector_config)
        return (first, *(Part("segmenter", choice.segmenter) for _ in segmenters))

    def summarize(self, choice: ModelChoice) -> PairSummary:
        """Return what the files say of a pair as they are now; raises as `load_pair` does."""
        return summarize(choice, self._model_dir)

    def verify(self, parts: Sequence[Part]) -> None:
        """Raise as `load_pair` does unless all files are there and as they were published."""
        models = [self._model(part) for part in parts]
        checksums.check_present(models, self._model_dir)
        for model in models:
            checksums.verify(model, self._model_dir)

    def nbytes(self, part: Part) -> int:
        """Return the size of the model's weights in bytes."""
        return checksums.weight_bytes(self._model(part), self._model_dir)

    def load(self, part: Part) -> LoadedModel:
        """Load a model whose files are verified."""
        model = self._model(part)
        folder, exported = model.folder(self._model_dir), exports.export_dir(model, self._model_dir)
        self._loaded[part] = exported.name
        cache = self._cache_of(part)
        if part.kind == "segmenter":
            return load_segmenter(
                model.engine, folder, self._compute, exported=exported, cache=cache
            )
        options = Options(
            self._compute, short_side=self._detect_size, exported=exported, cache=cache
        )
        if part.kind == "both":
            return load_sam3(folder, options)
        return load_detector(
            model.engine,
            folder,
            options,
            tokenizer_folder=model.tokenizer_folder(self._model_dir),
            config=model.config,
        )

    def pipeline(self, choice: ModelChoice, models: Sequence[LoadedModel]) -> Pipeline:
        """Put loaded models together, those of `parts` in their order."""
        detector = cast(LoadedDetector, models[0])
        segmenter = cast(LoadedSegmenter, models[-1]) if choice.has_segmenter else None
        runtime = detector.runtime
        if segmenter is not None:
            runtime = runtime.beside(segmenter.runtime)
        if runtime.warning is not None:
            logger.warning("%s", runtime.warning)
        caches = [self._cache_of(part) for part in self.parts(choice)]
        return Pipeline(detector, segmenter, caches[0], runtime, mask_cache=caches[-1])

    @cached_property
    def _compute(self) -> Compute:
        threads = self._threads or compute.usable_cores()
        chosen = _pick_compute(self._device, self._precision, threads)
        return replace(chosen, compiled=self._compiled)

    def _model(self, part: Part) -> Model:
        if part.kind == "segmenter":
            return names.segmenter(part.name, self._model_dir)
        return names.detector(part.name, self._model_dir, part.config)

    def _cache_of(self, part: Part) -> Cache:
        # Weights that were replaced between two loads must not be given the features of the old.
        return self._cache.for_model(f"{part.kind} {part.name} {self._loaded[part]}")


def _pick_compute(device: DeviceChoice, precision: PrecisionChoice, threads: int) -> Compute:
    present = compute.pick_device()
    if device == "cuda" and present != "cuda":
        raise SettingsError('The device "cuda" needs a GPU and there is none: use "cpu" or "auto".')
    chosen = present if device == "auto" else device
    compute.limit_threads(threads)
    return Compute(chosen, _precision_on(chosen, precision), threads)


def _precision_on(device: str, precision: PrecisionChoice) -> Precision:
    if precision == "auto":
        return "fp16" if device == "cuda" else "fp32"
    if precision == "fp16" and device == "cpu":
        raise SettingsError("PRECISION=fp16 needs a GPU and there is none: use fp32 or bf16.")
    if precision == "mixed" and device == "cuda":
        raise SettingsError("PRECISION=mixed is for CPUs: use fp16 or auto on a GPU.")
    return precision
