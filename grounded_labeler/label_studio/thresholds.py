"""Which thresholds hold for an image, and who set them: what is given last and nearest wins."""

from collections.abc import Mapping
from dataclasses import dataclass

from grounded_labeler.core.types import Thresholds
from grounded_labeler.label_studio.schema import Overrides
from grounded_labeler.settings import Settings
from grounded_labeler.weights.summary import PairSummary

_NOTHING = Overrides()
# Whoever sets a box threshold for one request means all labels.
_NEARER_THAN_LABELS = ("command line", "annotator")
_NAMES = ("box_threshold", "text_threshold", "nms_threshold", "max_regions")


@dataclass(frozen=True)
class Chosen:
    """The thresholds that hold, and for each field of Overrides in words who set it."""

    thresholds: Thresholds
    setters: Mapping[str, str]

    def describe(self) -> str:
        """As "box threshold 0.4 (--min-score), ..."."""
        limits, by = self.thresholds, self.setters
        return (
            f"box threshold {limits.box:.4g} ({by['box_threshold']}), "
            f"text threshold {limits.text:.4g} ({by['text_threshold']}), "
            f"NMS threshold {limits.nms:.4g} ({by['nms_threshold']}), "
            f"at most {limits.max_regions} regions ({by['max_regions']})"
        )


def choose_thresholds(
    settings: Settings,
    models: PairSummary,
    *,
    command_line: Overrides = _NOTHING,
    typed: Overrides = _NOTHING,
    attributes: Overrides = _NOTHING,
    displayed: Overrides = _NOTHING,
) -> Chosen:
    """The command line wins, then the annotator, the control tags' attributes, the environment.

    A label's own box threshold, `score_threshold`, comes after the annotator's.

    What a Number field displays before anyone touches it is only a default: it wins over the
    defaults of the detector and of the settings, and over nothing else.
    """
    own = Overrides(models.thresholds.box, models.thresholds.text)
    chosen: dict[str, float] = {}
    setters: dict[str, str] = {}
    for name in _NAMES:
        in_settings = getattr(settings, name)
        places = [
            ("command line", getattr(command_line, name)),
            ("annotator", getattr(typed, name)),
            ("label config", getattr(attributes, name)),
            (name.upper(), in_settings if name in settings.model_fields_set else None),
            ("default in the label config", getattr(displayed, name)),
            (f"default of {models.models[0].name}", getattr(own, name)),
            ("default", in_settings),
        ]
        setters[name], chosen[name] = next(place for place in places if place[1] is not None)
    return Chosen(
        Thresholds(
            box=chosen["box_threshold"],
            text=chosen["text_threshold"],
            nms=chosen["nms_threshold"],
            max_regions=int(chosen["max_regions"]),
            overrides_labels=setters["box_threshold"] in _NEARER_THAN_LABELS,
        ),
        setters,
    )


def unlike_displayed(chosen: Chosen, displayed: Overrides) -> str:
    """A sentence for each threshold that is not what its untouched Number field shows."""
    limits = chosen.thresholds
    held = {"box_threshold": limits.box, "text_threshold": limits.text}
    return " ".join(
        f"{name.replace('_', ' ').capitalize()} {value:.4g} ({chosen.setters[name]}) held, "
        f"not the {shown:.4g} shown."
        for name, value in held.items()
        if chosen.setters[name] != "annotator"
        and (shown := getattr(displayed, name)) is not None
        and shown != value
    )
