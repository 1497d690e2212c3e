"""Write what the demo models give for the bundled images, which `grounded-labeler verify` expects.

    PYTHONPATH=. python tools/write_demo_values.py

It takes the weights that are there: the scripts that train the demo models run it at their end.
The values are those of PyTorch in float32 on a CPU.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from grounded_labeler.core.components import tight_box
from grounded_labeler.core.types import Boxes, DecodedImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.images.load import load_image
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.weights.published import write_expected
from grounded_labeler.weights.reference_values import (
    Box,
    DetectorValues,
    ReferenceImage,
    SegmenterValues,
)

DEMO = Path(__file__).parents[1] / "grounded_labeler" / "demo"
SAMPLES = DEMO / "samples"
THRESHOLD = 0.3
SOURCE = "tools/write_demo_values.py"


def write_detector_values(folder: Path) -> None:
    """Write the values of the detector in `folder` beside its weights."""
    detector = load_detector("transformers", folder, Options(Compute()))
    values = []
    for name, shapes in drawn().items():
        phrases = tuple(dict.fromkeys(str(shape["name"]) for shape in shapes))
        [found] = detector.detect([image_of(name)], [phrases])
        scores = found.peaks.max(axis=1)
        rows = [row for row in np.argsort(-scores) if scores[row] > THRESHOLD]
        values.append(
            DetectorValues(
                reference(name), phrases, THRESHOLD,
                tuple(round(float(scores[row]), 4) for row in rows),
                rounded(found.boxes[rows]),
                SOURCE,
            )
        )  # fmt: skip
    write_expected(folder, tuple(values))


def write_segmenter_values(folder: Path) -> None:
    """Write the values of the segmenter in `folder` beside its weights."""
    segmenter = load_segmenter("sam", folder, Compute())
    values = []
    for name, shapes in drawn().items():
        boxes = np.array([shape["box"] for shape in shapes], np.float32)
        segments = segmenter.segment(image_of(name), VisualPrompts.of_boxes(boxes))
        values.append(
            SegmenterValues(
                reference(name),
                rounded(boxes),
                tuple(round(one.score, 4) for one in segments),
                SOURCE,
                rounded(np.array([tight_box(one.mask) for one in segments])),
            )
        )
    write_expected(folder, tuple(values))


def drawn() -> dict[str, list[dict[str, object]]]:
    """What is drawn in each bundled image."""
    truth = json.loads((SAMPLES / "truth.json").read_text())
    return {name: one["shapes"] for name, one in truth.items()}


def reference(name: str) -> ReferenceImage:
    content = (SAMPLES / name).read_bytes()
    return ReferenceImage(
        name, None, len(content), hashlib.sha256(content).hexdigest(), "Apache-2.0"
    )


def image_of(name: str) -> DecodedImage:
    return DecodedImage.of(load_image(SAMPLES / name, max_pixels=10_000_000))


def rounded(boxes: Boxes) -> tuple[Box, ...]:
    return tuple(tuple(round(float(side), 3) for side in box) for box in boxes)  # type: ignore[misc]


def main() -> None:
    write_detector_values(DEMO / "weights" / "detector")
    write_segmenter_values(DEMO / "weights" / "segmenter")


if __name__ == "__main__":
    main()
