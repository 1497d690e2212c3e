"""The rule by which two computations of one model give the same answers.

At least 99 % of the boxes, counted on whichever side has more, have a counterpart on the
other whose sides are within a pixel and whose score is within 0.01.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.core.types import Boxes, DecodedImage, Mask, Scores
from grounded_labeler.demo.evaluate import (
    SIZES_WH,
    UNSEEN_SEED,
    demo_thresholds,
    mask_iou,
    prompt_with_absent,
)
from grounded_labeler.demo.shapes import draw_image
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.weights import catalog

WANTED, PIXELS, SCORE = 0.99, 1.0, 0.01
RULE = f"at least {WANTED:.0%} within {PIXELS:g} px and {SCORE:g}"


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
    """Requests for boxes and masks in drawn images that the demo models were not trained on."""
    thresholds = demo_thresholds()
    jobs = []
    for number in range(count):
        rng = np.random.default_rng(UNSEEN_SEED + number)
        drawn = draw_image(rng, SIZES_WH[number % len(SIZES_WH)])
        prompt = prompt_with_absent(rng, drawn)
        image = DecodedImage.of(drawn.image)
        jobs.append(InferenceRequest(image, prompt, (), thresholds, with_masks=True))
    return jobs


def demo_folder(part: Literal["detector", "segmenter"]) -> Path:
    """The folder of a bundled model."""
    models = catalog.DETECTORS if part == "detector" else catalog.SEGMENTERS
    return models["demo"].folder(Path())


def demo_pipeline(
    compute: Compute,
    exported: Path | None = None,
    batch_size: int | None = None,
    cache_bytes: int = 0,
) -> Pipeline:
    """The trained demo models, by OpenVINO when `exported` holds their graphs.

    Features of up to `cache_bytes` are kept.
    """
    cache = ByteCache(cache_bytes)
    options = Options(compute, batch_size, exported=exported and exported / "detector", cache=cache)
    return Pipeline(
        load_detector("transformers", demo_folder("detector"), options),
        load_segmenter(
            "sam",
            demo_folder("segmenter"),
            compute,
            exported=exported and exported / "segmenter",
            cache=cache,
        ),
    )


def compared(
    models: str, name: str, truth: Sequence[InferenceResult], found: Sequence[InferenceResult]
) -> dict[str, Any]:
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
    return record(models, name, boxes, same, ious)


def record(models: str, way: str, boxes: int, same: int, ious: Sequence[float]) -> dict[str, Any]:
    """The row of a table: how many boxes are the same, and the masks of those."""
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


def _iou(one: Sequence[Mask] | None, i: int, other: Sequence[Mask] | None, j: int) -> float:
    if one is None or other is None:
        raise ValueError("masks must be there on both sides, got none")
    return mask_iou(one[i].full(), other[j].full())
