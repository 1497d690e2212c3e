"""Loads one SAM 3 as a detector, as a segmenter, or as both on the same encoded images."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.core.visual_prompts import Segment, VisualPrompts
from grounded_labeler.errors import SettingsError, WeightsError
from grounded_labeler.models.detectors.detector import Options
from grounded_labeler.models.runtime.choice import (
    exported_graphs,
    find_exported,
    pytorch_graphs,
)
from grounded_labeler.models.runtime.facts import read_facts, read_tokenizer
from grounded_labeler.models.runtime.graph import Graphs
from grounded_labeler.models.sam3.cost import measure_speed
from grounded_labeler.models.sam3.detector import Sam3Detector
from grounded_labeler.models.sam3.facts import DETECTOR, SEGMENTER, TRACKER_NECK, Sam3Facts
from grounded_labeler.models.sam3.segmenter import Sam3Segmenter
from grounded_labeler.models.sam3.vision import VisionEncoder
from grounded_labeler.models.segmenters.facts import SegmenterFacts

logger = logging.getLogger(__name__)


class Sam3:
    """A Detector and a Segmenter in one: an image is encoded once for phrases and clicks."""

    def __init__(self, detector: Sam3Detector, segmenter: Sam3Segmenter) -> None:
        """Both must have the same encoder of images and the same graphs."""
        self._detector, self._segmenter = detector, segmenter
        self.device, self.batch_size = detector.device, detector.batch_size
        self.longest = detector.longest
        self.runtime = detector.runtime.beside(segmenter.runtime)

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        """See `Detector.detect`."""
        return self._detector.detect(images, phrases)

    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        """See `Detector.embed`."""
        return self._detector.embed(images)

    def segment(self, image: DecodedImage, prompts: VisualPrompts) -> list[Segment]:
        """See `Segmenter.segment`."""
        return self._segmenter.segment(image, prompts)

    def encode(self, image: DecodedImage) -> None:
        """See `Segmenter.encode`."""
        self._segmenter.encode(image)

    def release(self) -> None:
        """See `Detector.release`."""
        self._detector.release()  # the segmenter's graphs are of the same `Graphs`


def load_both(folder: Path, options: Options) -> Sam3:
    """Load the model in `folder` as a detector and a segmenter."""
    _refuse_size(options)
    model = _load(folder, options, tuple(dict.fromkeys((*DETECTOR, *SEGMENTER))))
    return Sam3(model.detector(options), model.segmenter(options))


def load_detector(folder: Path, options: Options) -> Sam3Detector:
    """Load the model in `folder` as a detector alone; the folder needs no tracker."""
    _refuse_size(options)
    return _load(folder, options, DETECTOR).detector(options)


def load_segmenter(folder: Path, options: Options) -> Sam3Segmenter:
    """Load the model in `folder` as a segmenter alone."""
    return _load(folder, options, SEGMENTER).segmenter(options)


@dataclass(frozen=True, eq=False)
class _Loaded:
    """The graphs of a model and what must be known of them; `vision` encodes images with them."""

    facts: Sam3Facts
    tokenizer: Tokenizer
    graphs: Graphs
    vision: VisionEncoder
    folder: Path

    def detector(self, options: Options) -> Sam3Detector:
        return Sam3Detector(self.facts, self.tokenizer, self.graphs, self.vision, options)

    def segmenter(self, options: Options) -> Sam3Segmenter:
        tracker = _tracker_of(self.facts, self.folder)
        return Sam3Segmenter(tracker, self.graphs, self.vision, options)


def _load(folder: Path, options: Options, names: Sequence[str]) -> _Loaded:
    """Load the named graphs: from `options.exported` where a CPU can run those, else `folder`."""
    compute = options.compute
    exported = find_exported(names, compute, options.exported)
    if exported is not None:
        facts, tokenizer = read_facts(exported, Sam3Facts), read_tokenizer(exported)
        graphs = exported_graphs(names, compute, exported)
    else:
        from grounded_labeler.models.sam3 import build  # noqa: PLC0415 - imports torch

        parts = build.load(folder)
        facts, tokenizer = parts.facts, parts.tokenizer
        if TRACKER_NECK in names:
            _tracker_of(facts, folder)
        own = {name: parts.graphs[name] for name in names}
        graphs = pytorch_graphs(own, compute, options.exported)
    if compute.device == "cpu":
        logger.warning("%s", facts.cost.sentence(measure_speed(compute, graphs.runtime)))
    return _Loaded(facts, tokenizer, graphs, VisionEncoder(facts.images, graphs, options), folder)


def _tracker_of(facts: Sam3Facts, folder: Path) -> SegmenterFacts:
    if facts.tracker is None:
        raise WeightsError(
            f"{folder} holds SAM 3's detector without its tracker, which masks need: use the "
            "published folder, of model_type sam3_video, or another segmenter."
        )
    return facts.tracker


def _refuse_size(options: Options) -> None:
    if options.short_side is not None:
        raise SettingsError(
            f"DETECT_SIZE={options.short_side} has no meaning for sam3, which sees every image at "
            "the one size it was made for: leave DETECT_SIZE out."
        )
