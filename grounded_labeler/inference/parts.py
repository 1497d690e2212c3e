"""The models of a pair one by one: pairs share those that they have in common."""

from dataclasses import dataclass
from typing import Literal, Protocol

from grounded_labeler.models.detectors import Detector
from grounded_labeler.models.runtime.device import Runtime
from grounded_labeler.models.segmenters import Segmenter


@dataclass(frozen=True)
class Part:
    """One model of a pair, by what the settings call it; `config` as in ModelChoice.

    "both" is one that is the detector and the segmenter of its pair.
    """

    kind: Literal["detector", "segmenter", "both"]
    name: str
    config: str | None = None

    def __str__(self) -> str:
        kind = "detector and segmenter" if self.kind == "both" else self.kind
        return f"the {kind} {self.name}"


class LoadedDetector(Detector, Protocol):
    """A detector that says what computes it."""

    runtime: Runtime


class LoadedSegmenter(Segmenter, Protocol):
    """A segmenter that says what computes it."""

    runtime: Runtime


LoadedModel = LoadedDetector | LoadedSegmenter
