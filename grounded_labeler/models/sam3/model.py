"""Loads one SAM 3 as a detector, as a segmenter, or as both on the same encoded images."""

import logging
from collections.abc import Sequence
from pathlib import Path

from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.core.visual_prompts import Segment, VisualPrompts
from grounded_labeler.errors import SettingsError, WeightsError
from grounded_labeler.models.detectors.detector import Options
from grounded_labeler.models.runtime.choice import make_graphs
from grounded_labeler.models.runtime.graph import Graphs
from grounded_labeler.models.sam3.build import Sam3Parts, load
from grounded_labeler.models.sam3.cost import measure_speed
from grounded_labeler.models.sam3.detector import Sam3Detector
from grounded_labeler.models.sam3.segmenter import Sam3Segmenter
from grounded_labeler.models.sam3.vision import DETECTOR_NECK, TRACKER_NECK, VisionEncoder
from grounded_labeler.models.segmenters.architecture import Architecture

logger = logging.getLogger(__name__)

_DETECTOR = (DETECTOR_NECK, "joint")
_SEGMENTER = (TRACKER_NECK,)


class Sam3:
    """A Detector and a Segmenter in one: an image is encoded once for phrases and clicks."""

    def __init__(self, detector: Sam3Detector, segmenter: Sam3Segmenter) -> None:
        """Both must have the same encoder of images."""
        self._detector, self._segmenter = detector, segmenter
        self.device, self.batch_size = detector.device, detector.batch_size
        self.longest = detector.longest
        self.runtime = detector.runtime.beside(segmenter.runtime)

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        """See `Detector.detect`."""
        return self._detector.detect(images, phrases)

    def segment(self, image: DecodedImage, prompts: VisualPrompts) -> list[Segment]:
        """See `Segmenter.segment`."""
        return self._segmenter.segment(image, prompts)

    def encode(self, image: DecodedImage) -> None:
        """See `Segmenter.encode`."""
        self._segmenter.encode(image)

    def release(self) -> None:
        """See `Detector.release`."""
        self._detector.release()
        self._segmenter.release()


def load_both(folder: Path, options: Options) -> Sam3:
    """Load the model in `folder` as a detector and a segmenter."""
    _refuse_size(options)
    parts = _load(folder, options)
    tracker = _tracker_of(parts, folder)
    graphs, vision = _vision(parts, options, (*_DETECTOR, *_SEGMENTER))
    return Sam3(
        Sam3Detector(parts, graphs, vision, options),
        Sam3Segmenter(tracker, graphs, vision, options),
    )


def load_detector(folder: Path, options: Options) -> Sam3Detector:
    """Load the model in `folder` as a detector alone; the folder needs no tracker."""
    _refuse_size(options)
    parts = _load(folder, options)
    graphs, vision = _vision(parts, options, _DETECTOR)
    return Sam3Detector(parts, graphs, vision, options)


def load_segmenter(folder: Path, options: Options) -> Sam3Segmenter:
    """Load the model in `folder` as a segmenter alone."""
    parts = _load(folder, options)
    tracker = _tracker_of(parts, folder)
    graphs, vision = _vision(parts, options, _SEGMENTER)
    return Sam3Segmenter(tracker, graphs, vision, options)


def _load(folder: Path, options: Options) -> Sam3Parts:
    parts = load(folder)
    if options.compute.device == "cpu":
        logger.warning("%s", parts.cost.sentence(measure_speed(options.compute)))
    return parts


def _vision(
    parts: Sam3Parts, options: Options, heads: Sequence[str]
) -> tuple[Graphs, VisionEncoder]:
    """Make the graphs of the backbone and the `heads`, and the encoder of images on them."""
    own = {name: parts.graphs[name] for name in ("backbone", *heads)}
    graphs = make_graphs(own, options.compute, options.exported)
    return graphs, VisionEncoder(parts, graphs, options)


def _tracker_of(parts: Sam3Parts, folder: Path) -> Architecture:
    if parts.tracker is None:
        raise WeightsError(
            f"{folder} holds SAM 3's detector without its tracker, which masks need: use the "
            "published folder, of model_type sam3_video, or another segmenter."
        )
    return parts.tracker


def _refuse_size(options: Options) -> None:
    if options.short_side is not None:
        raise SettingsError(
            f"DETECT_SIZE={options.short_side} has no meaning for sam3, which sees every image at "
            "the one size it was made for: leave DETECT_SIZE out."
        )
