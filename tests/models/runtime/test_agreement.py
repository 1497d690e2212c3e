"""The demo detector by OpenVINO finds what it finds by torch, at every size it may work at."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.answers import WANTED, pairs
from grounded_labeler.core.inference import InferenceRequest
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import DecodedImage, Thresholds
from grounded_labeler.demo.shapes import KINDS, draw_image
from grounded_labeler.models import export as exports
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.weights.catalog import DETECTORS

pytestmark = pytest.mark.slow

# Width to height. With 800 or 400 pixels a side, some level is exactly 50 cells wide or high.
SHAPES = {"square": 1.0, "4:3": 4 / 3, "3:2": 3 / 2, "16:9": 16 / 9, "portrait": 3 / 4}
TILE = 160
# Low, so that there is much to compare: the detector was trained on smaller images.
LIMITS = Thresholds(box=0.03, text=0.0, nms=0.7, max_regions=50)


def mosaic(short_side: int, shape: float, seed: int) -> DecodedImage:
    """Drawn images side by side, the shorter side of all of them `short_side` pixels."""
    height = short_side if shape >= 1 else round(short_side / shape)
    width = short_side if shape < 1 else round(short_side * shape)
    rng = np.random.default_rng(seed)
    rows = [
        np.concatenate([draw_image(rng, (TILE, TILE)).image for _ in range(0, width, TILE)], 1)
        for _ in range(0, height, TILE)
    ]
    return DecodedImage.of(np.ascontiguousarray(np.concatenate(rows)[:height, :width]))


@pytest.mark.parametrize("short_side", [160, 384, 400, 800])
def test_at_least_99_percent_of_the_boxes_are_the_same(
    short_side: int, exported_demo: Path
) -> None:
    """Within a pixel and 0.01 of the score; what only one of them has counts against it."""
    model = DETECTORS["demo"]
    by_torch, by_openvino = (
        Pipeline(
            load_detector(
                model.engine,
                model.folder(exported_demo),
                Options(short_side=short_side, exported=exported),
            ),
            None,
        )
        for exported in (None, exports.export_dir(model, exported_demo))
    )
    boxes = same = 0
    for seed, shape in enumerate(SHAPES.values()):
        image = mosaic(short_side, shape, seed)
        job = InferenceRequest(
            image, parse_prompt(" . ".join(KINDS), ()), (), LIMITS, with_masks=False
        )
        [one], [other] = (pipeline.run([job]) for pipeline in (by_torch, by_openvino))
        found, also = one.detections, other.detections
        boxes += max(len(found), len(also))
        same += len(pairs((found.boxes, found.scores), (also.boxes, also.scores)))
    assert boxes >= len(SHAPES), "there must be something to compare"
    assert same >= WANTED * boxes, f"{same} of {boxes}"
