"""The chosen models, verified and loaded on the best device there is."""

import logging
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from grounded_labeler.cache import ByteCache
from grounded_labeler.errors import SettingsError
from grounded_labeler.models import export as exports
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime import device as compute
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.sam3 import load_sam3
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.settings import Settings
from grounded_labeler.settings_types import PrecisionChoice
from grounded_labeler.weights import checksums
from grounded_labeler.weights.choice import ModelChoice, chosen_models

if TYPE_CHECKING:
    from grounded_labeler.models.detectors.grounding_dino import GroundingDetector
    from grounded_labeler.models.sam3.detector import Sam3Detector
    from grounded_labeler.models.sam3.model import Sam3
    from grounded_labeler.models.segmenters.segmenter import PromptSegmenter

DeviceChoice = Literal["auto", "cpu", "cuda"]

logger = logging.getLogger(__name__)

# transformers builds a model under settings of the whole process: of two threads that load at
# once, one would find weights missing.
_LOADING = threading.Lock()


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
    checksums.check_present(chosen_models(settings.choice, settings.model_dir), settings.model_dir)


def load_pipeline(settings: Settings, cache: ByteCache) -> Pipeline:
    """Load the models of the settings, as `load_models` does."""
    threads = settings.cpu_threads or max(1, compute.usable_cores() // settings.workers)
    return load_models(
        settings.choice,
        settings.model_dir,
        cache,
        precision=settings.precision,
        cpu_threads=threads,
        detect_size=settings.detect_size,
    )


def load_models(
    choice: ModelChoice,
    model_dir: Path,
    cache: ByteCache,
    *,
    device: DeviceChoice = "auto",
    precision: PrecisionChoice = "auto",
    cpu_threads: int | None = None,
    detect_size: int | None = None,
) -> Pipeline:
    """Verify the models' files and load the models.

    Args:
        choice: the detector and the segmenter.
        model_dir: folder of the weights.
        cache: keeps the features of the last images.
        device: "auto" takes a GPU where there is one.
        precision: "auto" is fp16 on a GPU and fp32 on a CPU.
        cpu_threads: threads that the models compute with; all usable cores if None.
        detect_size: pixels of an image's shorter side in the detector; the model's own if None.

    Raises WeightsError naming the files that are missing or damaged, SettingsError for an
    unknown model and for what the device cannot do.
    """
    models = chosen_models(choice, model_dir)
    checksums.check_present(models, model_dir)
    for model in models:
        checksums.verify(model, model_dir)
    how = _pick_compute(device, precision, cpu_threads or compute.usable_cores())
    tokenizers = [shared.folder(model_dir) for shared in models[0].shared]
    options = Options(
        how, short_side=detect_size, exported=exports.export_dir(models[0], model_dir), cache=cache
    )
    loaded_detector: GroundingDetector | Sam3Detector | Sam3
    loaded_segmenter: PromptSegmenter | Sam3 | None = None
    with _LOADING:
        if models[0] in models[1:]:  # one model is both, with one image encoder
            loaded_detector = loaded_segmenter = load_sam3(models[0].folder(model_dir), options)
        else:
            loaded_detector = load_detector(
                models[0].engine,
                models[0].folder(model_dir),
                options,
                tokenizer_folder=tokenizers[0] if tokenizers else None,
            )
            for model in models[1:]:
                loaded_segmenter = load_segmenter(
                    model.engine,
                    model.folder(model_dir),
                    how,
                    exported=exports.export_dir(model, model_dir),
                    cache=cache,
                )
    runtime = loaded_detector.runtime
    if loaded_segmenter is not None:
        runtime = runtime.beside(loaded_segmenter.runtime)
    if runtime.warning is not None:
        logger.warning("%s", runtime.warning)
    pipeline = Pipeline(loaded_detector, loaded_segmenter, cache, runtime)
    pipeline.warm_up()
    return pipeline


def _pick_compute(device: DeviceChoice, precision: PrecisionChoice, threads: int) -> Compute:
    present = compute.pick_device()
    if device == "cuda" and present != "cuda":
        raise SettingsError('The device "cuda" needs a GPU and there is none: use "cpu" or "auto".')
    chosen = present if device == "auto" else device
    compute.limit_threads(threads)
    if precision == "auto":
        precision = "fp16" if chosen == "cuda" else "fp32"
    if precision == "fp16" and chosen == "cpu":
        raise SettingsError("PRECISION=fp16 needs a GPU and there is none: use fp32 or bf16.")
    return Compute(chosen, precision, threads)
