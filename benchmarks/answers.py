"""Whether the faster ways to compute give the answers of float32 in torch.

The trained demo models find boxes above the default thresholds in drawn images. The
full-size models, of random weights, are held to what the reference finds.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import cast

from benchmarks.agreement import (
    RULE,
    WANTED,
    compared,
    demo_folder,
    demo_jobs,
    demo_pipeline,
    pairs,
    record,
)
from benchmarks.bench import Bench
from benchmarks.ours import Ours
from benchmarks.report import Record
from benchmarks.stages import PROMPT
from grounded_labeler.core.boxes import from_cxcywh
from grounded_labeler.core.types import Boxes, DecodedImage, RGBImage, Scores
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.errors import SettingsError
from grounded_labeler.images.decode import decode
from grounded_labeler.models.detectors import export_detector
from grounded_labeler.models.detectors.grounding_dino import GroundingDetector
from grounded_labeler.models.runtime.device import Precision
from grounded_labeler.models.segmenters import export_segmenter

__all__ = ["RULE", "WANTED", "compared", "demo_pipeline", "measure", "pairs", "proposals"]

_IMAGES, _QUICK_IMAGES = 200, 20
_BIG_COUNT, _BIG_SIZE_WH = 50, (640, 480)
_FULL_SIZE = f"full-size random, best {_BIG_COUNT}"
_WAYS: tuple[tuple[str, Precision, bool], ...] = (
    ("OpenVINO fp32", "fp32", True),
    ("OpenVINO bf16", "bf16", True),
    ("torch autocast bf16", "bf16", False),
    ("torch autocast fp16", "fp16", False),
)


def measure(bench: Bench) -> list[Record]:
    """A record for each way to compute, of the demo models and then of the full-size ones."""
    return [*_of_demo(bench), *_of_full_size(bench)]


def _of_demo(bench: Bench) -> list[Record]:
    jobs = demo_jobs(_QUICK_IMAGES if bench.is_quick else _IMAGES)
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder)
        export_detector("transformers", demo_folder("detector"), exported / "detector")
        export_segmenter("sam", demo_folder("segmenter"), exported / "segmenter")
        truth = demo_pipeline(bench.compute).run(jobs)
        for name, precision, openvino in _WAYS:
            bench.say(f"demo models, {name}")
            compute = replace(bench.compute, precision=precision)
            try:
                pipeline = demo_pipeline(compute, exported if openvino else None)
            except SettingsError as error:
                records.append({"models": "demo", "computed by": name, RULE: str(error)})
                continue
            records.append(compared(f"demo, {len(jobs)} images", name, truth, pipeline.run(jobs)))
    return records


def _of_full_size(bench: Bench) -> list[Record]:
    """The reference's best boxes among all that ours proposes, and masks of the same boxes."""
    name = bench.album.new(_BIG_SIZE_WH)
    image = decode(bench.album[name])
    threshold = bench.reference.threshold(image, PROMPT, _BIG_COUNT)
    answer = bench.reference.whole(f"{bench.address}/{name}", PROMPT, threshold)
    if answer.masks is None:
        raise RuntimeError("The reference made no masks.")
    records: list[Record] = []
    for way, precision, openvino in _WAYS[:2]:
        bench.say(f"full-size models, {way}")
        compute = replace(bench.compute, precision=precision)
        try:
            ours = Ours.load(bench.folders, compute, exported=openvino)
        except SettingsError as error:
            records.append({"models": _FULL_SIZE, "computed by": way, RULE: str(error)})
            continue
        # Random weights like "." as much as "cat", and the reference takes the best of all
        # tokens: so are these.
        both = pairs((answer.boxes, answer.scores), proposals(ours, image, PROMPT))
        prompts = VisualPrompts.of_boxes(answer.boxes)
        masks = [one.mask for one in ours.segmenter.segment(DecodedImage.of(image), prompts)]
        ious = [
            mask_iou(theirs, own.full()) for theirs, own in zip(answer.masks, masks, strict=True)
        ]
        records.append(record(_FULL_SIZE, way, _BIG_COUNT, len(both), ious))
    return records


def proposals(ours: Ours, image: RGBImage, caption: str) -> tuple[Boxes, Scores]:
    """All boxes that the detector proposes, whichever token they are for, and their scores."""
    detector = cast(GroundingDetector, ours.detector)
    features = detector.encode_image(detector.prepare(image)[None])
    boxes, scores = detector.decode([features], detector.encode_text([f"{caption} ."]))
    height, width = image.shape[:2]
    return from_cxcywh(boxes[0], (width, height)), scores[0].max(axis=1)
