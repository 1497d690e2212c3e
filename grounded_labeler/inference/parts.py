"""The models of a pair one by one: pairs share those that they have in common."""

from dataclasses import dataclass
from typing import Protocol

from grounded_labeler.models.detectors import Detector
from grounded_labeler.models.runtime.device import Runtime
from grounded_labeler.models.segmenters import Segmenter
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.own import Kind


@dataclass(frozen=True)
class Part:
    """One model of a pair, by what the settings call it; `config` as in ModelChoice."""

    kind: Kind
    name: str
    config: str | None = None


class LoadedDetector(Detector, Protocol):
    """A detector that says what computes it."""

    runtime: Runtime


class LoadedSegmenter(Segmenter, Protocol):
    """A segmenter that says what computes it."""

    runtime: Runtime


def parts_of(choice: ModelChoice) -> tuple[Part, ...]:
    """Return the detector and, if there is one, the segmenter."""
    detector = Part("detector", choice.detector, choice.detector_config)
    return (detector, *([Part("segmenter", choice.segmenter)] if choice.has_segmenter else []))
