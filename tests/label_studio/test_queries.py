"""What is asked of each image: typed, remembered or the labels, and with which thresholds."""

from dataclasses import replace
from typing import Any

import pytest

from grounded_labeler.core.tiling import Tiling
from grounded_labeler.core.types import Thresholds
from grounded_labeler.errors import PromptError
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.queries import (
    Query,
    default_queries,
    typed_queries,
    why_nothing,
)
from grounded_labeler.label_studio.schema import Overrides
from grounded_labeler.settings import Settings
from tests.helpers.asking import IMAGE, PROMPT, typed, view
from tests.helpers.models import DEFAULT

LABELS = '<Label value="Cat"/><Label value="Dog" prompt="puppy"/>'
RECTANGLES = f'<RectangleLabels name="label" toName="image">{LABELS}</RectangleLabels>'
LIMITED = RECTANGLES.replace(
    " toName",
    ' model_score_threshold="0.11" text_threshold="0.12" nms_threshold="0.13" max_regions="14"'
    " toName",
)
CONFIG = view(PROMPT, IMAGE, RECTANGLES)
ENVIRON = {
    "BOX_THRESHOLD": "0.5",
    "TEXT_THRESHOLD": "0.6",
    "NMS_THRESHOLD": "0.8",
    "MAX_REGIONS": "9",
}


def brief(queries: list[Query]) -> list[tuple[str | None, list[tuple[str, str | None]]]]:
    """Of each question the prompt as it was typed, and its phrases with their labels."""
    return [
        (query.text, [(phrase.text, phrase.label) for phrase in query.prompt.phrases])
        for query in queries
    ]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        (RECTANGLES, Thresholds(0.5, 0.6, 0.8, 9)),
        (LIMITED, Thresholds(0.11, 0.12, 0.13, 14)),
    ],
)
def test_every_question_has_the_thresholds_of_its_image(tag: str, expected: Thresholds) -> None:
    config, settings = read_label_config(view(PROMPT, IMAGE, tag)), Settings.from_env(ENVIRON)
    given = Overrides(box_threshold=0.99, max_regions=1)
    for query in default_queries(config, settings, DEFAULT, lambda _: "cat", overrides=given):
        assert query.thresholds == replace(expected, box=0.99, max_regions=1, overrides_labels=True)
    for query in (
        *typed_queries(typed("cat"), config, settings, DEFAULT),
        *default_queries(config, settings, DEFAULT, lambda _: "cat"),
        *default_queries(config, settings, DEFAULT, lambda _: None),
    ):
        assert query.thresholds == expected
        assert query.target == config.images[0]


# Typed


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("tabby", [("tabby", None)]),
        ("tabby -> cat . poodle_dog", [("tabby", "Cat"), ("poodle", "Dog")]),  # as labels are spelt
    ],
)
def test_a_typed_prompt_is_asked_and_kept_as_it_was_typed(
    text: str, phrases: list[tuple[str, str | None]]
) -> None:
    asked = typed_queries(typed(text), read_label_config(CONFIG), Settings.from_env({}), DEFAULT)
    assert brief(asked) == [(text, phrases)]


@pytest.mark.parametrize("context", [{}, {"result": []}, {"result": None}, typed(" \n")])
def test_nothing_typed_is_nothing_asked(context: dict[str, Any]) -> None:
    assert typed_queries(context, read_label_config(CONFIG), Settings.from_env({}), DEFAULT) == []


def test_a_typed_prompt_that_names_nothing_is_refused() -> None:
    with pytest.raises(PromptError, match="prompt is empty"):
        typed_queries(typed(" . ; -"), read_label_config(CONFIG), Settings.from_env({}), DEFAULT)


# Standing


@pytest.mark.parametrize("remembered", [None, "tabby -> cat"])
@pytest.mark.parametrize("mode", ["auto", "last_prompt", "labels", "off"])
def test_what_is_asked_when_nobody_typed(mode: str, remembered: str | None) -> None:
    labels = [(None, [("Cat", "Cat"), ("puppy", "Dog")])]
    expected = {
        ("auto", True): [("tabby -> cat", [("tabby", "Cat")])],
        ("auto", False): labels,
        ("last_prompt", True): [("tabby -> cat", [("tabby", "Cat")])],
        ("labels", True): labels,
        ("labels", False): labels,
    }
    settings = Settings.from_env({"PREANNOTATE": mode})
    asked = default_queries(read_label_config(CONFIG), settings, DEFAULT, lambda _: remembered)
    assert brief(asked) == expected.get((mode, remembered is not None), [])


@pytest.mark.parametrize("mode", ["auto", "last_prompt", "labels", "off"])
@pytest.mark.parametrize("attribute", ["", "labels", "off"])
def test_a_prompt_of_the_command_line_is_asked_whatever_else_is_said(
    mode: str, attribute: str
) -> None:
    settings = Settings.from_env({"PREANNOTATE": mode})
    config = read_label_config(CONFIG.replace("<TextArea", f'<TextArea preannotate="{attribute}"'))
    [asked] = default_queries(config, settings, DEFAULT, lambda _: "dog", prompt="tabby")
    assert (asked.text, asked.is_remembered) == ("tabby", False)


def test_what_is_remembered_is_told_from_what_is_typed() -> None:
    config, settings = read_label_config(CONFIG), Settings.from_env({})
    [remembered] = default_queries(config, settings, DEFAULT, lambda _: "tabby")
    [labels] = default_queries(config, settings, DEFAULT, lambda _: None)
    [now] = typed_queries(typed("tabby"), config, settings, DEFAULT)
    queries = (remembered, labels, now)
    assert [one.is_remembered for one in queries] == [True, False, False]
    assert [one.with_near_misses for one in queries] == [False, False, True]


@pytest.mark.parametrize(
    ("variable", "attribute", "tiling"),
    [
        ("off", "", None),
        ("auto", "", Tiling()),
        ("auto", 'tiles="off"', None),
        ("800", 'tiles="auto"', Tiling()),
        ("off", 'tiles="800"', Tiling(800)),
    ],
)
def test_tiles_are_those_of_the_config_or_of_the_setting(
    variable: str, attribute: str, tiling: Tiling | None
) -> None:
    tag = RECTANGLES.replace(" toName", f" {attribute} toName", 1)
    config = read_label_config(view(PROMPT, IMAGE, tag))
    settings = Settings.from_env({"TILES": variable})
    asked = [
        *typed_queries(typed("cat"), config, settings, DEFAULT),
        *default_queries(config, settings, DEFAULT, lambda _: None),
    ]
    assert [query.tiling for query in asked] == [tiling, tiling]


def test_each_image_has_its_own_question() -> None:
    config = read_label_config(
        view(
            PROMPT.replace('"image"', '"left,right"'),
            '<Image name="left" value="$a"/><Image name="right" value="$b"/>',
            RECTANGLES.replace('"image"', '"left,right"'),
        )
    )
    settings = Settings.from_env({})
    context = typed("tabby", to_name="right")
    [query] = typed_queries(context, config, settings, DEFAULT)
    assert (query.target.name, query.text) == ("right", "tabby")
    asked = default_queries(
        config, settings, DEFAULT, lambda target: {"right": "tabby"}.get(target.name)
    )
    assert [(query.target.name, query.text) for query in asked] == [
        ("left", None),
        ("right", "tabby"),
    ]


def test_a_project_without_labels_has_nothing_to_ask_for() -> None:
    config = read_label_config(view(PROMPT, IMAGE, '<Rectangle name="r" toName="image"/>'))
    assert default_queries(config, Settings.from_env({}), DEFAULT, lambda _: None) == []


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("off", ["PREANNOTATE=off says so", "set it to"]),
        ("last_prompt", ["no prompt is remembered", "type one in a task", "PREANNOTATE=labels"]),
        ("labels", ["the label config has no labels", "add <Label> tags"]),
        ("auto", ["no prompt is remembered", "has no labels", "add <Label> tags"]),
    ],
)
def test_why_nothing_is_looked_for_says_what_to_do(mode: str, words: list[str]) -> None:
    sentence = why_nothing(read_label_config(CONFIG), Settings.from_env({"PREANNOTATE": mode}))
    assert all(word in sentence for word in words), sentence


def test_why_nothing_is_looked_for_names_the_prompt_field_that_says_so() -> None:
    config = read_label_config(CONFIG.replace("<TextArea", '<TextArea preannotate="off"', 1))
    assert 'the prompt field has preannotate="off"' in why_nothing(config, Settings.from_env({}))
