"""What a person gave last and nearest wins; a default in a config is only a default."""

import pytest

from grounded_labeler.core.types import Thresholds
from grounded_labeler.label_studio.schema import Overrides
from grounded_labeler.label_studio.thresholds import choose_thresholds, unlike_displayed
from grounded_labeler.settings import Settings
from tests.helpers.models import DEFAULT

ENVIRON = {
    "BOX_THRESHOLD": "0.5",
    "TEXT_THRESHOLD": "0.6",
    "NMS_THRESHOLD": "0.8",
    "MAX_REGIONS": "9",
}
# Each a level below the one before it: box, text, overlap, regions.
LEVELS = {
    "command_line": Overrides(0.91, 0.92, 0.93, 1),
    "typed": Overrides(0.81, 0.82, 0.83, 2),
    "attributes": Overrides(0.71, 0.72, 0.73, 3),
    "environment": Overrides(0.5, 0.6, 0.8, 9),
    "displayed": Overrides(0.41, 0.42, 0.43, 4),
}
SETTERS = ["command line", "annotator", "label config", None, "default in the label config"]


@pytest.mark.parametrize("highest", range(6))
@pytest.mark.parametrize(
    "name", ["box_threshold", "text_threshold", "nms_threshold", "max_regions"]
)
def test_of_several_levels_the_highest_wins_for_each_threshold_alone(
    name: str, highest: int
) -> None:
    given = dict(list(LEVELS.items())[highest:])
    environ = {name.upper(): ENVIRON[name.upper()]} if given.pop("environment", None) else {}
    only = {
        level: Overrides(**{name: getattr(overrides, name)}) for level, overrides in given.items()
    }
    settings = Settings.from_env(environ)
    chosen = choose_thresholds(settings, DEFAULT, **only)
    defaults = choose_thresholds(Settings.from_env({}), DEFAULT)
    fields = {"box_threshold": "box", "text_threshold": "text", "nms_threshold": "nms"}
    field = fields.get(name, name)
    if highest < len(LEVELS):
        expected = getattr(list(LEVELS.values())[highest], name)
        assert getattr(chosen.thresholds, field) == expected
        assert chosen.setters[name] == (SETTERS[highest] or name.upper())
    else:
        assert chosen == defaults
        own = name in ("box_threshold", "text_threshold")
        whose = " of groundingdino-swint-ogc" if own else ""
        assert chosen.setters[name] == f"default{whose}"
    others = [other for other in ("box", "text", "nms", "max_regions") if other != field]
    assert [getattr(chosen.thresholds, other) for other in others] == [
        getattr(defaults.thresholds, other) for other in others
    ]


def test_zero_is_a_value_like_any_other() -> None:
    zero = Overrides(0.0, 0.0, 0.0)
    chosen = choose_thresholds(
        Settings.from_env(ENVIRON), DEFAULT, typed=zero, attributes=LEVELS["typed"]
    )
    assert chosen.thresholds == Thresholds(0.0, 0.0, 0.0, 2, overrides_labels=True)


def test_a_variable_that_says_the_same_as_the_default_is_set_all_the_same() -> None:
    displayed = Overrides(box_threshold=0.5)
    settings = Settings.from_env({"BOX_THRESHOLD": "0.3"})
    assert choose_thresholds(settings, DEFAULT, displayed=displayed).thresholds.box == 0.3
    settings = Settings.from_env({"BOX_THRESHOLD": " "})  # compose passes unset variables empty
    assert choose_thresholds(settings, DEFAULT, displayed=displayed).thresholds.box == 0.5


def test_what_holds_is_said_with_who_set_it() -> None:
    chosen = choose_thresholds(
        Settings.from_env({"TEXT_THRESHOLD": "0.2"}),
        DEFAULT,
        command_line=Overrides(box_threshold=0.45),
        attributes=Overrides(max_regions=7),
    )
    assert chosen.describe() == (
        "box threshold 0.45 (command line), text threshold 0.2 (TEXT_THRESHOLD), "
        "NMS threshold 0.7 (default), at most 7 regions (label config)"
    )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, ""),
        ({"typed": Overrides(0.2, 0.2)}, ""),  # then the fields show that
        (
            {"attributes": Overrides(box_threshold=0.2)},
            "Box threshold 0.2 (label config) held, not the 0.4 shown.",
        ),
        ({"attributes": Overrides(box_threshold=0.4)}, ""),
        (
            {"attributes": Overrides(0.2, 0.3)},
            "Box threshold 0.2 (label config) held, not the 0.4 shown. "
            "Text threshold 0.3 (label config) held, not the 0.25 shown.",
        ),
    ],
)
def test_what_a_field_shows_and_does_not_hold_is_said(
    given: dict[str, Overrides], sentence: str
) -> None:
    displayed = Overrides(0.4, 0.25)
    chosen = choose_thresholds(Settings.from_env({}), DEFAULT, displayed=displayed, **given)
    assert unlike_displayed(chosen, displayed) == sentence
