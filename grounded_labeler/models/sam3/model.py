"""Loads one SAM 3 as a detector, as a segmenter, or as both on the same encoded images."""

from pathlib import Path

from grounded_labeler.errors import SettingsError
from grounded_labeler.models.detectors.detector import Options
from grounded_labeler.models.runtime.choice import make_graphs
from grounded_labeler.models.sam3.build import load
from grounded_labeler.models.sam3.detector import Sam3Detector
from grounded_labeler.models.sam3.vision import DETECTOR_NECK, VisionEncoder

_DETECTOR_PARTS = ("backbone", DETECTOR_NECK, "joint")


def load_detector(folder: Path, options: Options) -> Sam3Detector:
    """Load the detector of the model in `folder`; raises as `load_sam3` does."""
    _refuse_size(options.short_side)
    parts = load(folder)
    own = {name: parts.graphs[name] for name in _DETECTOR_PARTS}
    graphs = make_graphs(own, options.compute, options.exported)
    return Sam3Detector(parts, graphs, VisionEncoder(parts, graphs, options), options)


def _refuse_size(short_side: int | None) -> None:
    if short_side is not None:
        raise SettingsError(
            f"DETECT_SIZE={short_side} has no meaning for sam3, which sees every image at the one "
            "size it was made for: leave DETECT_SIZE out."
        )
