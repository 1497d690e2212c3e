"""The models that one service offers: the label config of a project chooses among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grounded_labeler.weights.catalog import NO_SEGMENTER
from grounded_labeler.weights.choice import ModelChoice, check_name, chosen_models
from grounded_labeler.weights.model import Model
from grounded_labeler.weights.own import Kind

_KINDS: tuple[Kind, ...] = ("detector", "segmenter")
_HOW = "must be detectors, or a detector and a segmenter as llmdet-tiny+mobile-sam, with commas"


@dataclass(frozen=True)
class OfferedModels:
    """The pairs that a service offers.

    Attributes:
        default: the pair of the projects that choose none.
        pairs: every pair, each once, in the order of the settings; `default` is among them.
    """

    default: ModelChoice
    pairs: tuple[ModelChoice, ...]

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detectors to choose from, each once."""
        return tuple(dict.fromkeys(pair.detector for pair in self.pairs))

    @property
    def segmenters(self) -> tuple[str, ...]:
        """The segmenters to choose from, each once; "none", which always works, is the last."""
        named = dict.fromkeys(pair.segmenter for pair in self.pairs if pair.has_segmenter)
        return (*named, NO_SEGMENTER)

    def choose(self, detector: str | None, segmenter: str | None) -> ModelChoice:
        """Return the pair of these names; None leaves one to the settings.

        A detector alone gets the first pair that has it, a segmenter alone the default's
        detector. Raises ValueError for a name that is not offered.
        """
        if detector is not None and detector not in self.detectors:
            raise ValueError(f"the detector {detector} is not offered")
        if segmenter is not None and segmenter not in self.segmenters:
            raise ValueError(f"the segmenter {segmenter} is not offered")
        if segmenter is None:
            fitting = (pair for pair in self.pairs if pair.detector == detector)
            return next(fitting, self.default)
        config = self.default.detector_config
        return ModelChoice(detector or self.default.detector, segmenter, config)

    def models(self, model_dir: Path) -> list[Model]:
        """Return every model, each once; raises as `chosen_models` does."""
        every = [model for pair in self.pairs for model in chosen_models(pair, model_dir)]
        return list(dict.fromkeys(every))


def offered_models(default: ModelChoice, pairs: Sequence[str]) -> OfferedModels:
    """Return what a service offers whose DETECTOR and SEGMENTER are `default`.

    Args:
        default: the only pair where `pairs` is empty; else the default where it is among them,
            and the first of them where it is not.
        pairs: as `check_pair` lets them pass.
    """
    named = ((*pair.split("+"), NO_SEGMENTER)[:2] for pair in pairs)
    config = default.detector_config
    choices = tuple(
        dict.fromkeys(ModelChoice(detector, segmenter, config) for detector, segmenter in named)
    )
    if not choices:
        return OfferedModels(default, (default,))
    return OfferedModels(default if default in choices else choices[0], choices)


def check_pair(pair: str) -> str:
    """Return `pair`, without spaces, if it names a detector, or a detector and a segmenter.

    Raises ValueError that completes a sentence.
    """
    names = [name.strip() for name in pair.split("+")]
    if len(names) > len(_KINDS) or not all(names):
        raise ValueError(f"{_HOW} between them")
    for kind, name in zip(_KINDS, names, strict=False):
        try:
            check_name(kind, name)
        except ValueError as error:
            raise ValueError(f"{_HOW} between them; each {kind} {error}") from None
    return "+".join(names)
