"""Why a region is there, for the editor's Info panel: phrase, label rule, threshold, models.

The editor shows the texts of a region's `meta.text` one after another with nothing between them
and keeps line ends in them (RegionDetails.tsx of Label Studio 1.23.2), so all but the first begin
with one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from grounded_labeler.core.label_matching import match
from grounded_labeler.core.label_names import LabelMatch
from grounded_labeler.label_studio.queries import AnyQuery, Query


@dataclass(frozen=True)
class Provenance:
    """What the regions of one image came of.

    Attributes:
        matches: for each phrase the label that it means, and why.
        box_thresholds: for each phrase the box threshold that held, in [0, 1].
        model_version: the version of the prediction.
    """

    matches: Mapping[str, LabelMatch]
    box_thresholds: Mapping[str, float]
    model_version: str

    @classmethod
    def of(cls, query: AnyQuery, model_version: str) -> Self:
        """Read it from what was asked; what somebody drew has no phrases."""
        if not isinstance(query, Query):
            return cls({}, {}, model_version)
        phrases = query.prompt.phrases
        texts = [phrase.text for phrase in phrases]
        return cls(
            {one.text: match(one, query.target.labels) for one in phrases},
            dict(zip(texts, query.box_thresholds, strict=True)),
            model_version,
        )

    def texts(self, phrase: str, label: str | None) -> list[str]:
        """Return the texts of the Info panel of a region with this label, the phrase first."""
        lines = ["Made from clicks, boxes or strokes."]
        if (meant := self.matches.get(phrase)) is not None:
            lines = [
                phrase,
                _why(meant, label),
                f"Box threshold: {self.box_thresholds[phrase]:.4g}.",
            ]
        first, *others = [*lines, f"Model version: {self.model_version}"]
        # Whatever is written below begins on a line of its own.
        return [first, *(f"\n{line}" for line in others[:-1]), f"\n{others[-1]}\n"]


def meta_of(phrase: str, label: str | None, provenance: Provenance | None) -> dict[str, Any]:
    """Return what a region has in its Info panel, as a part of the region; nothing is {}.

    A region without a label carries its phrase, so that the annotator can choose one. With
    `provenance`, every region says where it came from, its phrase first.
    """
    if provenance is not None:
        return {"meta": {"text": provenance.texts(phrase, label)}}
    return {"meta": {"text": [phrase]}} if label is None and phrase else {}


def _why(meant: LabelMatch, label: str | None) -> str:
    if meant.label is None:
        return f"No label: {meant.rule.value}."
    if label is None:
        return f"No label: the phrase means {meant.label}, which this control does not have."
    return f"Label {label}: {meant.rule.value}."
