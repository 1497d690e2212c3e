"""Runs a model in float32 on the images of published results, and compares what it finds.

The model is loaded as the service loads it here: by OpenVINO where its graphs are, on a GPU
where there is one. So what is verified is what will serve.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from grounded_labeler.__about__ import __version__
from grounded_labeler.cache import ByteCache
from grounded_labeler.core.agreement import Agreement, compare_detections, compare_masks
from grounded_labeler.core.components import tight_box
from grounded_labeler.core.types import Boxes, DecodedImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.errors import OutOfMemory, WeightsError
from grounded_labeler.images.load import load_image
from grounded_labeler.models import export as exports
from grounded_labeler.models.detectors import Detector, Options, load_detector
from grounded_labeler.models.runtime.device import Compute, Runtime, limit_threads, pick_device
from grounded_labeler.models.segmenters import Segmenter, load_segmenter
from grounded_labeler.weights import checksums
from grounded_labeler.weights.model import Model
from grounded_labeler.weights.own import Kind
from grounded_labeler.weights.reference_images import ReferenceImages
from grounded_labeler.weights.reference_values import Box, DetectorValues, SegmenterValues
from grounded_labeler.weights.verification import Outcome, Verification, digest_of, values_of

_MAX_PIXELS = 10_000_000
_CACHE_BYTES = 128_000_000  # two prompts of one image encode it once


def verify_model(
    kind: Kind, model: Model, model_dir: Path, images: ReferenceImages, threads: int
) -> Verification:
    """Compare a model whose files are here with what was published of it.

    Args:
        kind: what it is used as.
        model: the model.
        model_dir: folder of the weights.
        images: where the images are.
        threads: CPU threads to compute with.

    Raises WeightsError and SettingsError as loading the model does, and OutOfMemory.
    """
    values = [
        entry
        for entry in values_of(kind, model)
        if entry.image.is_known or images.has_given(entry.image)
    ]
    checksums.check_present([model], model_dir)
    none = Verification(model.name, kind, Outcome.NO_VALUES, __version__)
    if not values:
        return none
    paths, reasons = _find(values, images)
    if not paths:
        return replace(none, outcome=Outcome.NOT_VERIFIED, reason=" ".join(reasons))
    checksums.verify(model, model_dir)
    compute = Compute(pick_device(), "fp32", threads)
    limit_threads(threads)
    runtime, agreement = _run(kind, model, model_dir, compute=compute, values=values, paths=paths)
    return replace(
        none,
        outcome=Outcome.VERIFIED if agreement.holds else Outcome.DIFFERS,
        digest=digest_of(model, model_dir),
        runtime=str(runtime),
        device=compute.device,
        images=tuple(paths),
        figures=asdict(agreement),
        reason=" ".join(reasons),
    )


def check_detector(detector: Detector, values: DetectorValues, image: DecodedImage) -> Agreement:
    """Compare what a detector finds in `image` with `values`.

    The highest score of any phrase is compared: text thresholds choose labels, not boxes.
    Raises OutOfMemory when memory allows only for fewer pixels than the model should see.
    """
    [candidates] = detector.detect([image], [values.phrases])
    if candidates.is_coarse:
        raise OutOfMemory("There is not enough memory to verify the detector.")
    height, width = image.pixels.shape[:2]
    scale = (width, height) * 2 if values.in_parts else 1
    boxes = _boxes([(np.nan,) * 4 if box is None else box for box in values.boxes]) * scale
    return compare_detections(
        (candidates.boxes, candidates.peaks.max(axis=1)),
        (boxes.astype(np.float32), np.array(values.scores, np.float32)),
        values.threshold,
    )


def check_segmenter(
    segmenter: Segmenter, values: SegmenterValues, image: DecodedImage
) -> Agreement:
    """Compare the masks that a segmenter makes of boxes of `image` with `values`."""
    segments = segmenter.segment(image, VisualPrompts.of_boxes(_boxes(values.boxes)))
    tight = np.array([tight_box(one.mask) for one in segments], np.float32).reshape(-1, 4)
    return compare_masks(
        (tight, np.array([one.score for one in segments], np.float32)),
        (
            None if values.mask_boxes is None else _boxes(values.mask_boxes),
            np.array(values.scores, np.float32),
        ),
        max_difference=values.tolerance,
    )


def _find(
    values: list[DetectorValues | SegmenterValues], images: ReferenceImages
) -> tuple[dict[str, Path], list[str]]:
    """Return the image files by name, and why others are not here."""
    paths, reasons = {}, []
    for image in dict.fromkeys(entry.image for entry in values):
        try:
            paths[image.name] = images.path_of(image)
        except WeightsError as error:
            reasons.append(str(error))
    return paths, reasons


def _run(
    kind: Kind,
    model: Model,
    model_dir: Path,
    *,
    compute: Compute,
    values: list[DetectorValues | SegmenterValues],
    paths: Mapping[str, Path],
) -> tuple[Runtime, Agreement]:
    folder, exported = model.folder(model_dir), exports.export_dir(model, model_dir)
    cache = ByteCache(_CACHE_BYTES)
    decoded = {
        name: DecodedImage.of(load_image(path, max_pixels=_MAX_PIXELS))
        for name, path in paths.items()
    }
    parts: list[Agreement] = []
    if kind == "detector":
        detector = load_detector(
            model.engine,
            folder,
            Options(compute, exported=exported, cache=cache),
            tokenizer_folder=model.tokenizer_folder(model_dir),
            config=model.config,
        )
        for entry in values:
            if isinstance(entry, DetectorValues) and entry.image.name in decoded:
                parts.append(check_detector(detector, entry, decoded[entry.image.name]))
        return detector.runtime, Agreement.of_all(parts)
    segmenter = load_segmenter(model.engine, folder, compute, exported=exported, cache=cache)
    for entry in values:
        if isinstance(entry, SegmenterValues) and entry.image.name in decoded:
            parts.append(check_segmenter(segmenter, entry, decoded[entry.image.name]))
    return segmenter.runtime, Agreement.of_all(parts)


def _boxes(boxes: list[Box] | tuple[Box, ...]) -> Boxes:
    return np.array(boxes, np.float32).reshape(-1, 4)
