"""From the names in the settings to models: of the catalog, of the hub, or somebody's own."""

import re
from dataclasses import dataclass
from pathlib import Path

from grounded_labeler.errors import SettingsError
from grounded_labeler.weights import catalog
from grounded_labeler.weights.catalog import NO_SEGMENTER
from grounded_labeler.weights.model import HubRepository, Model
from grounded_labeler.weights.own import Kind, hub_model, hub_name, own_model, own_name

_PREFIX = "hub:"
# An owner, a repository and, after "@", a branch, tag or commit.
_REPOSITORY = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)
_HOW_ELSE = (
    "or the path of your own, with a / in it, or hub:owner/name@revision for a repository of the "
    "Hugging Face hub"
)


@dataclass(frozen=True)
class ModelChoice:
    """A detector and a segmenter that serve together, by what the settings call them.

    Each is a name of the catalog, a path, or "hub:owner/name@revision"; the segmenter may be
    "none". `detector_config` is the architecture of a detector that is a single checkpoint.
    """

    detector: str
    segmenter: str = NO_SEGMENTER
    detector_config: str | None = None

    @property
    def has_segmenter(self) -> bool:
        return self.segmenter != NO_SEGMENTER

    @property
    def name(self) -> str:
        """What versions and log lines call them."""
        names = [_short(self.detector)] + [_short(self.segmenter)] * self.has_segmenter
        return "+".join(names)


def chosen_models(choice: ModelChoice, model_dir: Path) -> list[Model]:
    """Return the detector and, unless it is "none", the segmenter.

    Raises SettingsError for a name that means no model, and WeightsError for a path where none
    is, or a repository whose files here are of another kind.
    """
    models = [detector(choice.detector, model_dir, choice.detector_config)]
    if choice.has_segmenter:
        models.append(segmenter(choice.segmenter, model_dir))
    return models


def detector(name: str, model_dir: Path, config: str | None = None) -> Model:
    """Return the detector that `name` means; raises as `chosen_models` does."""
    return _find("detector", name, model_dir, config)


def segmenter(name: str, model_dir: Path) -> Model:
    """Return the segmenter that `name` means; raises as `chosen_models` does."""
    return _find("segmenter", name, model_dir, None)


def has_published_sums(choice: ModelChoice) -> bool:
    """Whether what the models' files hold is known before any of them is here."""
    known = [catalog.DETECTORS.get(choice.detector)]
    if choice.has_segmenter:
        known.append(catalog.SEGMENTERS.get(choice.segmenter))
    return all(model is not None and model.hub is None for model in known)


def check_name(kind: Kind, name: str) -> str:
    """Return `name` if it can mean a model; raises ValueError that completes a sentence."""
    is_none = kind == "segmenter" and name == NO_SEGMENTER
    if is_none or name in _names(kind) or _REPOSITORY.fullmatch(name):
        return name
    if name.startswith(_PREFIX):
        raise ValueError("must be written hub:owner/name, with @revision after it if need be")
    if "/" in name and "://" not in name:  # an address is no path
        return name
    names = [*_names(kind)] + [NO_SEGMENTER] * (kind == "segmenter")
    raise ValueError(f"must be one of {', '.join(names)}, {_HOW_ELSE}")


def _find(kind: Kind, name: str, model_dir: Path, config: str | None) -> Model:
    models = catalog.DETECTORS if kind == "detector" else catalog.SEGMENTERS
    if name in models:
        return models[name]
    try:
        check_name(kind, name)
    except ValueError as error:
        raise SettingsError(f"{kind.upper()}={name} {error}.") from None
    if (repository := _repository(name)) is not None:
        return hub_model(kind, repository, model_dir)
    return own_model(kind, Path(name), config)


def _names(kind: Kind) -> tuple[str, ...]:
    return tuple(catalog.DETECTORS if kind == "detector" else catalog.SEGMENTERS)


def _repository(name: str) -> HubRepository | None:
    found = _REPOSITORY.fullmatch(name)
    return None if found is None else HubRepository(found[1], found[2] or "main")


def _short(name: str) -> str:
    """Return the name of the model that `name` means, without looking for it."""
    if (repository := _repository(name)) is not None:
        return hub_name(repository)
    return own_name(Path(name)) if "/" in name else name
