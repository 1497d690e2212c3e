"""LLMDet tiny beside Grounding DINO tiny: the same stages in one run, in turns.

Both are of transformers and of the published sizes, with random weights, computed by OpenVINO.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from transformers import (
    BertConfig,
    BertTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    SwinConfig,
)

from benchmarks.bench import Bench
from benchmarks.full_size import MODELS, draw_weights, vocabulary
from benchmarks.images import draw
from benchmarks.ours import ModelStages, is_older
from benchmarks.report import Record
from benchmarks.timing import WHOLE, Seconds, Stopwatch, alternating
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.models.detectors import Detector, Options, export_detector, load_detector
from grounded_labeler.models.export import EDITION
from grounded_labeler.models.runtime.device import Compute

SIZE_WH = (640, 480)  # 800 x 1066 when a detector sees it
PHRASES = ("cat", "a small blue bird")
STAGES = ("resize", "text", "detect: backbone", "detect: fusion", WHOLE)
GROUNDING_DINO, LLMDET = "grounding-dino-tiny", "llmdet-tiny"
_OWN_HEADS = {"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False}
SWIN_T = {
    "image_size": 224, "window_size": 7, "embed_dim": 96, "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24], "out_features": ["stage2", "stage3", "stage4"],
}  # fmt: skip
# The defaults of both configs are the published values of the rest.
CLASSES: dict[str, tuple[type[Any], type[Any], dict[str, bool]]] = {
    GROUNDING_DINO: (GroundingDinoConfig, GroundingDinoForObjectDetection, {}),
    LLMDET: (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection, _OWN_HEADS),
}


@dataclass(eq=False)
class Timed:
    """A detector whose stages are timed; each image it is given is a new one."""

    detector: Detector
    observer: ModelStages
    size_wh: tuple[int, int] = SIZE_WH
    _seed: int = 0

    def ask(self) -> Seconds:
        """The seconds of each stage of a prompt; raises RuntimeError when nothing is found."""
        self._seed += 1
        image, watch = DecodedImage.of(draw(self.size_wh, self._seed)), Stopwatch()
        with self.observer.timed_by(watch), watch.whole():
            [found] = self.detector.detect([image], [PHRASES])
        if not (len(found.boxes) and np.isfinite(found.boxes).all() and found.peaks.max() > 0):
            raise RuntimeError("Random weights were to give boxes with scores, and did not.")
        return watch.seconds


def measure(bench: Bench) -> list[Record]:
    """A record for each stage: the medians of both detectors and how they compare."""
    llmdet, grounding_dino = (_load(make(name), bench.compute) for name in (LLMDET, GROUNDING_DINO))
    return compared(llmdet.ask, grounding_dino.ask, bench.rounds)


def compared(
    llmdet: Callable[[], Seconds], grounding_dino: Callable[[], Seconds], rounds: int
) -> list[Record]:
    """Records of `rounds` in turns; before them each is run once, which compiles its graphs."""
    alternating(llmdet, grounding_dino, 1)
    sides = alternating(llmdet, grounding_dino, rounds)
    records: list[Record] = []
    for stage in STAGES:
        ours, theirs = (
            statistics.median(seconds.get(stage, 0.0) for seconds in side) for side in sides
        )
        records.append(
            {
                "stage": stage,
                f"{LLMDET}, ms": round(1000 * ours, 1),
                f"{GROUNDING_DINO}, ms": round(1000 * theirs, 1),
                "ratio": round(ours / theirs, 3),
            }
        )
    return records


def make(name: str, root: Path = MODELS) -> Path:
    """The folder of a detector as `save_pretrained` writes it, made once: 690 MB."""
    folder = root / name
    if folder.is_dir():
        return folder
    config_class, model_class, flags = CLASSES[name]
    config = config_class(backbone_config=SwinConfig(**SWIN_T), text_config=BertConfig(), **flags)
    model = model_class(config).eval()
    model.load_state_dict(draw_weights(model))
    unfinished = folder.with_suffix(".unfinished")
    model.save_pretrained(unfinished)
    words = {word: number for number, word in enumerate(vocabulary())}
    BertTokenizerFast(vocab=words, do_lower_case=True).save_pretrained(unfinished)
    GroundingDinoImageProcessor().save_pretrained(unfinished)
    unfinished.replace(folder)
    return folder


def _load(folder: Path, compute: Compute) -> Timed:
    graphs = folder.parent / f"exported-{version('openvino')}-{EDITION}" / folder.name
    if is_older(graphs, folder):
        export_detector("transformers", folder, graphs)
    observer = ModelStages()
    options = Options(compute, exported=graphs, observer=observer)
    return Timed(load_detector("transformers", folder, options), observer)
