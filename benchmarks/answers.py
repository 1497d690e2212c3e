"""Whether the faster ways to compute give the answers of float32 in torch.

The trained demo models find boxes above the default thresholds in drawn images. The
full-size models, of random weights, are held to what the reference finds.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks.bench import Bench
from benchmarks.ours import Ours
from benchmarks.report import Record
from benchmarks.stages import PROMPT
from grounded_labeler.core.boxes import from_cxcywh
from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.core.types import Boxes, DecodedImage, Mask, RGBImage, Scores
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.demo.evaluate import SIZES_WH, UNSEEN_SEED, mask_iou, prompt_with_absent
from grounded_labeler.demo.shapes import draw_image
from grounded_labeler.errors import SettingsError
from grounded_labeler.images.decode import decode
from grounded_labeler.label_studio.thresholds import choose_thresholds
from grounded_labeler.models.detectors import Options, export_detector, load_detector
from grounded_labeler.models.detectors.grounding_dino import GroundingDetector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.device import Compute, Precision
from grounded_labeler.models.segmenters import export_segmenter, load_segmenter
from grounded_labeler.settings import Settings
from grounded_labeler.weights import catalog
from grounded_labeler.weights.summary import summarize

WANTED, PIXELS, SCORE = 0.99, 1.0, 0.01
IMAGES, QUICK_IMAGES = 200, 20
_BIG_COUNT, _BIG_SIZE_WH = 50, (640, 480)
_FULL_SIZE = f"full-size random, best {_BIG_COUNT}"
RULE = f"at least {WANTED:.0%} within {PIXELS:g} px and {SCORE:g}"
_WAYS: tuple[tuple[str, Precision, bool], ...] = (
    ("OpenVINO fp32", "fp32", True),
    ("OpenVINO mixed", "mixed", True),
    ("OpenVINO bf16", "bf16", True),
    ("torch autocast bf16", "bf16", False),
    ("torch autocast fp16", "fp16", False),
)


def measure(bench: Bench) -> list[Record]:
    """A record for each way to compute, of the demo models and then of the full-size ones."""
    return [*_of_demo(bench), *_of_full_size(bench)]


def pairs(one: tuple[Boxes, Scores], other: tuple[Boxes, Scores]) -> list[tuple[int, int]]:
    """Which rows of `one` and `other` are the same object, each row once, best scores first.

    That is: all four sides within a pixel of each other, and scores within 0.01.
    """
    sides = np.abs(one[0][:, None] - other[0][None]).max(axis=2, initial=0)
    same = (sides <= PIXELS) & (np.abs(one[1][:, None] - other[1][None]) <= SCORE)
    found: dict[int, int] = {}
    for row in np.argsort(-one[1], kind="stable"):
        fitting = [int(i) for i in np.flatnonzero(same[row]) if i not in found.values()]
        if fitting:
            found[int(row)] = min(fitting, key=lambda column: float(sides[row, column]))
    return list(found.items())


def demo_jobs(count: int) -> list[InferenceRequest]:
    """Return `count` drawn images nobody trained on, each with a prompt; always the same."""
    defaults = Settings.from_env({"DETECTOR": "demo"})
    models = summarize(defaults.choice, defaults.model_dir)
    settings = choose_thresholds(defaults, models).thresholds
    jobs = []
    for number in range(count):
        rng = np.random.default_rng(UNSEEN_SEED + number)
        drawn = draw_image(rng, SIZES_WH[number % len(SIZES_WH)])
        prompt = prompt_with_absent(rng, drawn)
        jobs.append(
            InferenceRequest(DecodedImage.of(drawn.image), prompt, (), settings, with_masks=True)
        )
    return jobs


def export_demo(folder: Path) -> None:
    """Write the graphs of the demo models, as `demo_pipeline` reads them."""
    export_detector("transformers", _demo_folder("detector"), folder / "detector")
    export_segmenter("sam", _demo_folder("segmenter"), folder / "segmenter")


def _of_demo(bench: Bench) -> list[Record]:
    jobs = demo_jobs(QUICK_IMAGES if bench.is_quick else IMAGES)
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder)
        export_demo(exported)
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


def demo_pipeline(compute: Compute, exported: Path | None = None) -> Pipeline:
    """The trained demo models, by OpenVINO when `exported` holds their graphs."""
    options = Options(compute, exported=exported and exported / "detector")
    return Pipeline(
        load_detector("transformers", _demo_folder("detector"), options),
        load_segmenter(
            "sam", _demo_folder("segmenter"), compute, exported=exported and exported / "segmenter"
        ),
    )


def _demo_folder(part: str) -> Path:
    models = catalog.DETECTORS if part == "detector" else catalog.SEGMENTERS
    return models["demo"].folder(Path())


def compared(
    models: str, name: str, truth: Sequence[InferenceResult], found: Sequence[InferenceResult]
) -> Record:
    """How much of `truth` is in `found`; what only one of them has counts against it."""
    boxes = same = 0
    ious: list[float] = []
    for one, other in zip(truth, found, strict=True):
        both = pairs(
            (one.detections.boxes, one.detections.scores),
            (other.detections.boxes, other.detections.scores),
        )
        boxes += max(len(one.detections), len(other.detections))
        same += len(both)
        ious += [_iou(one.masks, i, other.masks, j) for i, j in both]
    return _record(models, name, boxes, same, ious)


def _of_full_size(bench: Bench) -> list[Record]:
    """The reference's best boxes among all that ours proposes, and masks of the same boxes."""
    name = bench.album.new(_BIG_SIZE_WH)
    image = decode(bench.album[name])
    threshold = bench.reference.threshold(image, PROMPT, _BIG_COUNT)
    answer = bench.reference.whole(f"{bench.address}/{name}", PROMPT, threshold)
    if answer.masks is None:
        raise RuntimeError("The reference made no masks.")
    records: list[Record] = []
    for way, precision, openvino in _WAYS[:3]:
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
        records.append(_record(_FULL_SIZE, way, _BIG_COUNT, len(both), ious))
    return records


def proposals(ours: Ours, image: RGBImage, caption: str) -> tuple[Boxes, Scores]:
    """All boxes that the detector proposes, whichever token they are for, and their scores."""
    detector = cast(GroundingDetector, ours.detector)
    features = detector.encode_image(detector.prepare(image)[None])
    boxes, scores = detector.decode([features], detector.encode_text([f"{caption} ."]))
    height, width = image.shape[:2]
    return from_cxcywh(boxes[0], (width, height)), scores[0].max(axis=1)


def _iou(one: Sequence[Mask] | None, i: int, other: Sequence[Mask] | None, j: int) -> float:
    if one is None or other is None:
        raise ValueError("masks must be there on both sides, got none")
    return mask_iou(one[i].full(), other[j].full())


def _record(models: str, way: str, boxes: int, same: int, ious: Sequence[float]) -> Record:
    share = same / max(boxes, 1)
    return {
        "models": models,
        "computed by": way,
        "boxes": boxes,
        "the same": same,
        "share": share,
        "mean mask IoU": float(np.mean(ious)),
        "least mask IoU": min(ious),
        RULE: "pass" if share >= WANTED else "FAIL",
    }
