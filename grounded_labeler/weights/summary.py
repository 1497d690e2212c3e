"""What is known of a service's models without loading them: versions and thresholds need it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from grounded_labeler.weights.catalog import default_thresholds
from grounded_labeler.weights.checksums import sums_of
from grounded_labeler.weights.choice import ModelChoice, chosen_models
from grounded_labeler.weights.model import DefaultThresholds
from grounded_labeler.weights.offer import OfferedModels


@dataclass(frozen=True)
class ModelSummary:
    """One model.

    Attributes:
        name: what versions and sentences call it.
        engine: the code that runs it.
        sha256: the sum of each of its files, by name.
    """

    name: str
    engine: str
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class PairSummary:
    """Models that serve together: a detector and, unless it is "none", a segmenter.

    Attributes:
        choice: what the settings call them.
        models: the detector, then the segmenter.
        thresholds: those of the detector for whoever sets none.
    """

    choice: ModelChoice
    models: tuple[ModelSummary, ...]
    thresholds: DefaultThresholds


@dataclass(frozen=True)
class OfferedSummary:
    """All models that a service offers, by what its settings call them."""

    detectors: Mapping[str, ModelSummary]
    thresholds: Mapping[str, DefaultThresholds]
    segmenters: Mapping[str, ModelSummary]

    def has(self, offered: OfferedModels) -> bool:
        """Whether all of these models are among them."""
        wanted = {pair.segmenter for pair in offered.pairs if pair.has_segmenter}
        return self.detectors.keys() >= set(offered.detectors) and self.segmenters.keys() >= wanted

    def pair(self, choice: ModelChoice) -> PairSummary:
        """Return what is known of one pair; raises KeyError for other models."""
        models = [self.detectors[choice.detector]]
        if choice.has_segmenter:
            models.append(self.segmenters[choice.segmenter])
        return PairSummary(choice, tuple(models), self.thresholds[choice.detector])


def summarize_all(offered: OfferedModels, model_dir: Path) -> OfferedSummary:
    """Return what is known of every model; raises as `summarize` does."""
    pairs = [summarize(pair, model_dir) for pair in offered.pairs]
    return OfferedSummary(
        detectors={pair.choice.detector: pair.models[0] for pair in pairs},
        thresholds={pair.choice.detector: pair.thresholds for pair in pairs},
        segmenters={
            pair.choice.segmenter: pair.models[1] for pair in pairs if pair.choice.has_segmenter
        },
    )


def summarize(choice: ModelChoice, model_dir: Path) -> PairSummary:
    """Return what the catalog and the files under `model_dir` say of the models.

    Raises as `chosen_models` does, and WeightsError when the sums cannot be known here.
    """
    models = chosen_models(choice, model_dir)
    summaries = (ModelSummary(one.name, one.engine, sums_of(one, model_dir)) for one in models)
    return PairSummary(choice, tuple(summaries), default_thresholds(models[0]))
