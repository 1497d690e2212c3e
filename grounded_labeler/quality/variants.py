"""What `--compare` compares: "now", or what differs from it, as "prompt=car;box_threshold=0.4"."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from grounded_labeler._text import shorten
from grounded_labeler.errors import BadRequest, SettingsError, sentence_of
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.config_settings import choose_models
from grounded_labeler.label_studio.schema import LabelConfig, Overrides
from grounded_labeler.quality.candidates import Variant
from grounded_labeler.quality.subject import Subject
from grounded_labeler.settings import Settings
from grounded_labeler.weights.choice import ModelChoice, check_name
from grounded_labeler.weights.own import Kind

NOW = "now"
_FRACTIONS = ("box_threshold", "text_threshold", "nms_threshold")
_KEYS = ("prompt", "detector", "segmenter", *_FRACTIONS, "label_config")
# A ";" may also stand in a prompt, between phrases: it ends one only where a key follows.
_BETWEEN = re.compile(r";\s*(?=\w+\s*=)")


@dataclass(frozen=True)
class Changes:
    """What differs from how a project is labelled now; None where nothing does.

    Attributes:
        name: how it was written.
        prompt: is asked instead of the labels.
        detector, segmenter: the models' names.
        overrides: thresholds.
        label_config: holds instead of the project's.
    """

    name: str
    prompt: str | None = None
    detector: str | None = None
    segmenter: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    label_config: LabelConfig | None = None

    def apply(
        self, subject: Subject, settings: Settings, prompt: str | None = None
    ) -> tuple[Subject, Variant]:
        """Return the subject and the variant to measure; `prompt` is asked where none is named.

        Raises BadRequest for models of a label config that are not offered, SettingsError for one
        that is of other images.
        """
        if self.label_config is not None:
            here = [target.name for target in subject.config.images]
            there = [target.name for target in self.label_config.images]
            if unknown := [name for name in there if name not in here]:
                raise SettingsError(
                    f'--compare has a label config of an <Image name="{shorten(unknown[0])}">; '
                    f"what is measured is called {' or '.join(map(shorten, here))}."
                )
            subject = replace(subject, config=self.label_config)
        choice = None
        if self.detector is not None or self.segmenter is not None:
            now = choose_models(subject.config.models, settings.offered)
            config = now.detector_config if self.detector in {None, now.detector} else None
            choice = ModelChoice(
                self.detector or now.detector, self.segmenter or now.segmenter, config
            )
        return subject, Variant(self.prompt or prompt, self.overrides, choice)


def read_changes(text: str) -> Changes:
    """Read one side of a comparison.

    Raises SettingsError for a key that there is not, a value that it cannot have, and a label
    config that cannot be read.
    """
    if text.strip() == NOW:
        return Changes(NOW)
    values: dict[str, str] = {}
    for part in _BETWEEN.split(text):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in _KEYS:
            raise SettingsError(
                f'--compare has "{shorten(part)}", which must be {NOW}, or one of '
                f'{", ".join(_KEYS)} with a value, as "prompt=red car;box_threshold=0.4".'
            )
        if key in values or not value:
            why = "twice" if key in values else "without a value"
            raise SettingsError(f"--compare has {key} {why}.")
        values[key] = value
    limits = {key: _fraction(key, values[key]) for key in _FRACTIONS if key in values}
    kinds: tuple[Kind, ...] = ("detector", "segmenter")
    named = {kind: _model(kind, values[kind]) for kind in kinds if kind in values}
    path = values.get("label_config")
    return Changes(
        text.strip(),
        values.get("prompt"),
        named.get("detector"),
        named.get("segmenter"),
        Overrides(
            limits.get("box_threshold"),
            limits.get("text_threshold"),
            limits.get("nms_threshold"),
        ),
        None if path is None else _label_config(Path(path)),
    )


def _fraction(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:  # nor "nan"
        raise SettingsError(f"--compare has {key}={shorten(text)}, which must be from 0 to 1.")
    return value


def _model(kind: Kind, name: str) -> str:
    try:
        return check_name(kind, name)
    except ValueError as error:
        raise SettingsError(f"--compare has {kind}={shorten(name)}, which {error}.") from None


def _label_config(path: Path) -> LabelConfig:
    try:
        return read_label_config(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"--compare: {sentence_of(error)}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"--compare: {path} is no text in UTF-8.") from None
    except BadRequest as error:
        raise SettingsError(f"--compare: {path}: {error}") from None
