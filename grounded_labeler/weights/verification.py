"""What became of comparing a model with published results, written beside the weights.

A result belongs to the weights it was made with: it names a digest of all their sums, and
counts for no others.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, cast

from grounded_labeler.errors import WeightsError
from grounded_labeler.weights.checksums import sums_of
from grounded_labeler.weights.choice import ModelChoice, chosen_models
from grounded_labeler.weights.model import Model
from grounded_labeler.weights.own import Kind
from grounded_labeler.weights.published import detector_values, segmenter_values
from grounded_labeler.weights.reference_images import FOLDER
from grounded_labeler.weights.reference_values import DetectorValues, SegmenterValues

# What /health says of a model.
State = Literal["verified", "differs", "no published values", "not verified"]


class Outcome(StrEnum):
    """What became of a verification, the worst first."""

    DIFFERS = "differs"
    FAILED = "failed"  # its files are missing or damaged
    NOT_VERIFIED = "not verified"
    NO_VALUES = "no published values"
    VERIFIED = "verified"


@dataclass(frozen=True)
class Verification:
    """The verification of one model.

    Attributes:
        model: its name.
        kind: "detector" or "segmenter".
        outcome: what became of it.
        version: of this package.
        digest: of the sums of all its files, where it was compared.
        runtime: what computed it, such as "OpenVINO, fp32, 2 CPU threads".
        device: what it ran on, "cpu" or "cuda".
        images: the names of the images that were compared.
        figures: the fields of a core.agreement.Agreement.
        reason: why it, or one of the images, was not compared.
    """

    model: str
    kind: str
    outcome: Outcome
    version: str
    digest: str = ""
    runtime: str = ""
    device: str = ""
    images: tuple[str, ...] = ()
    figures: dict[str, float | None] = field(default_factory=dict)
    reason: str = ""


def values_of(kind: Kind, model: Model) -> tuple[DetectorValues | SegmenterValues, ...]:
    """Return what was published of a model; raises WeightsError where that is damaged."""
    return detector_values(model) if kind == "detector" else segmenter_values(model)


def digest_of(model: Model, model_dir: Path) -> str:
    """Return a digest of the sums of all files of a model; raises as `sums_of` does."""
    text = json.dumps(sums_of(model, model_dir), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write(verification: Verification, model_dir: Path) -> None:
    """Write a verification below `model_dir` in place of an earlier one; raises OSError."""
    path = _path(verification.kind, verification.model, model_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps(asdict(verification), indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def outcome_of(kind: Kind, model: Model, model_dir: Path) -> Outcome:
    """Return what became of verifying the weights that are here.

    Reads the files of a bundled model, of others their sums only. What is damaged or missing
    counts as not verified.
    """
    try:
        values = values_of(kind, model)
        if not values:
            return Outcome.NO_VALUES
        written = json.loads(_path(kind, model.name, model_dir).read_bytes())
        if written["digest"] == digest_of(model, model_dir):
            return Outcome(written["outcome"])
    except FileNotFoundError:
        return _unwritten(values)
    except (OSError, ValueError, TypeError, KeyError, WeightsError):
        return Outcome.NOT_VERIFIED
    return _unwritten(values)


def used_models(choices: Sequence[ModelChoice], model_dir: Path) -> list[tuple[Kind, Model]]:
    """Return what each model of some pairs is used as, once; raises as `chosen_models` does."""
    found: dict[tuple[Kind, Model], None] = {}
    for choice in choices:
        detector, *segmenters = chosen_models(choice, model_dir)
        found["detector", detector] = None
        found.update((("segmenter", model), None) for model in segmenters)
    return list(found)


def states_of(choices: Sequence[ModelChoice], model_dir: Path) -> dict[str, State]:
    """Return the state of each model of some pairs by its name.

    Where a detector and a segmenter have one name, it is the worse of the two. Empty where
    a model of the user's own is gone, of which nothing can be said.
    """
    try:
        used = used_models(choices, model_dir)
    except WeightsError:
        return {}
    found = [(model.name, outcome_of(kind, model, model_dir)) for kind, model in used]
    return {
        name: cast(State, str(worst_of(outcome for named, outcome in found if named == name)))
        for name, _ in found
    }


def worst_of(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst of some outcomes."""
    return min(outcomes, key=list(Outcome).index)


def _unwritten(values: Sequence[DetectorValues | SegmenterValues]) -> Outcome:
    """Return the outcome of a model that was never compared with these values."""
    has_image = any(entry.image.is_known for entry in values)
    return Outcome.NOT_VERIFIED if has_image else Outcome.NO_VALUES


def _path(kind: str, name: str, model_dir: Path) -> Path:
    return model_dir / FOLDER / f"{kind}-{name}.json"
