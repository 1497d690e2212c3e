"""The chosen models, verified and loaded on the best device there is."""

import logging
from importlib.util import find_spec

from grounded_labeler.cache import ByteCache
from grounded_labeler.errors import SettingsError
from grounded_labeler.models import export as exports
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime import device as compute
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.settings import Settings
from grounded_labeler.weights import catalog, checksums
from grounded_labeler.weights.catalog import NO_SEGMENTER

logger = logging.getLogger(__name__)


def model_name(settings: Settings) -> str:
    """The chosen models, as versions name them."""
    chosen = (settings.detector, settings.segmenter)
    return "+".join(name for name in chosen if name != NO_SEGMENTER)


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
    checksums.check_present(
        catalog.chosen_models(settings.detector, settings.segmenter), settings.model_dir
    )


def load_pipeline(settings: Settings, cache: ByteCache) -> Pipeline:
    """Verify and load the chosen models on the best device there is.

    What they make of pictures is kept in `cache`. Raises WeightsError naming the files
    that are missing or damaged, SettingsError for what the device cannot do.
    """
    check_weights(settings)
    for model in catalog.chosen_models(settings.detector, settings.segmenter):
        checksums.verify(model, settings.model_dir)
    how = _pick_compute(settings)
    chosen = catalog.detector(settings.detector)
    tokenizers = [shared.folder(settings.model_dir) for shared in chosen.shared]
    detector = load_detector(
        chosen.engine,
        chosen.folder(settings.model_dir),
        Options(
            how,
            short_side=settings.detect_size,
            exported=exports.export_dir(chosen, settings.model_dir),
            cache=cache,
        ),
        tokenizer_folder=tokenizers[0] if tokenizers else None,
    )
    segmenter, runtime = None, detector.runtime
    if settings.segmenter != NO_SEGMENTER:
        chosen = catalog.segmenter(settings.segmenter)
        segmenter = load_segmenter(
            chosen.engine,
            chosen.folder(settings.model_dir),
            how,
            exported=exports.export_dir(chosen, settings.model_dir),
            cache=cache,
        )
        runtime = runtime.beside(segmenter.runtime)
    if runtime.warning is not None:
        logger.warning("%s", runtime.warning)
    pipeline = Pipeline(detector, segmenter, cache, runtime)
    pipeline.warm_up()
    return pipeline


def _pick_compute(settings: Settings) -> Compute:
    device = compute.pick_device()
    threads = settings.cpu_threads or max(1, compute.usable_cores() // settings.workers)
    compute.limit_threads(threads)
    precision = settings.precision
    if precision == "auto":
        precision = "fp16" if device == "cuda" else "fp32"
    if precision == "fp16" and device == "cpu":
        raise SettingsError("PRECISION=fp16 needs a GPU and there is none: use fp32 or bf16.")
    return Compute(device, precision, threads)
