"""What the Info panel of a region says of where it came from."""

from typing import Any

import pytest

from grounded_labeler.core.label_matching import label_for, match
from grounded_labeler.core.label_names import LabelRule
from grounded_labeler.core.prompt import Phrase, parse_prompt, phrases_from_labels
from grounded_labeler.core.types import Label
from tests.conftest import MakeClient
from tests.helpers.asking import (
    IMAGE,
    PROMPT,
    RECTANGLES,
    STATUS,
    ask,
    body,
    of_type,
    predict,
    view,
)

WIDE = "/data/upload/1/wide.jpg"
PLAIN = view(PROMPT, STATUS, IMAGE, RECTANGLES)
LABELS = (
    Label("Cat", ("kitten", "tabby")),
    Label("Car", prompt="automobile . red vehicle"),
    Label("Bus"),
)


@pytest.mark.parametrize(
    ("typed", "label", "rule"),
    [
        ("small thing -> Cat", "Cat", LabelRule.MAPPED),
        ("small cat -> Cat", "Cat", LabelRule.MAPPED),
        ("small thing_Cat", "Cat", LabelRule.MAPPED),
        ("small cat -> kitten", "Cat", LabelRule.MAPPED),
        ("cats", "Cat", LabelRule.VALUE),
        ("CAT", "Cat", LabelRule.VALUE),
        ("kittens", "Cat", LabelRule.PREDICTED_VALUE),
        ("automobile", "Car", LabelRule.OWN_PROMPT),
        ("red vehicle > 0.4", "Car", LabelRule.OWN_PROMPT),
        ("old brown cat in a street", "Cat", LabelRule.HEAD_NOUN),
        ("small tabby", "Cat", LabelRule.HEAD_NOUN),
        ("dog", None, LabelRule.NONE),
        ("cat -> Dog", None, LabelRule.NONE),
    ],
)
def test_why_a_phrase_has_its_label(typed: str, label: str | None, rule: LabelRule) -> None:
    [phrase] = parse_prompt(typed, LABELS).phrases
    meant = match(phrase, LABELS)
    assert (meant.label, meant.rule) == (label, rule)
    assert label_for(phrase, LABELS) == label


def test_why_the_phrase_of_a_label_has_it() -> None:
    rules = {one.text: match(one, LABELS).rule for one in phrases_from_labels(LABELS).phrases}
    assert rules == {
        "Cat": LabelRule.VALUE,
        "automobile": LabelRule.OWN_PROMPT,
        "red vehicle": LabelRule.OWN_PROMPT,
        "Bus": LabelRule.VALUE,
    }


def test_an_emoji_that_tells_labels_apart_is_no_mapping() -> None:
    labels = (Label("🔴 Circle"), Label("🔵 Circle"))
    [phrase] = parse_prompt("🔴 Circle", labels).phrases
    assert match(phrase, labels).rule is LabelRule.VALUE
    assert phrase == Phrase("Circle", "🔴 Circle")


def texts(results: list[dict[str, Any]]) -> list[list[str]]:
    return [box["meta"]["text"] for box in of_type(results, "rectanglelabels")]


def test_every_region_says_where_it_came_from(make_client: MakeClient) -> None:
    client = make_client(PROVENANCE="true")
    request = body([WIDE], None, PLAIN)
    [prediction] = predict(client, request)
    version = prediction["model_version"]
    results = ask(client, WIDE, "red circle > 0.35 . ring -> Square . red shape", config=PLAIN)
    circle = [
        "red circle",
        "\nLabel Circle: it is the head noun of the phrase.",
        "\nBox threshold: 0.35.",
        f"\nModel version: {version}\n",
    ]
    ring = ["ring", "\nLabel Square: the prompt names it for the phrase.", "\nBox threshold: 0.3."]
    said = texts(results)
    assert circle in said
    assert [*ring, circle[-1]] in said
    for text in said:
        assert text[0] in ("red circle", "ring", "red shape")
        if text[0] == "red shape":
            assert text[1] == "\nNo label: none fits the phrase."


def test_regions_of_labels_say_it_too(make_client: MakeClient) -> None:
    client = make_client(PROVENANCE="true", PREANNOTATE="labels")
    [prediction] = predict(client, body([WIDE], None, PLAIN))
    assert ["Star", "\nLabel Star: the phrase equals its value."] in [
        text[:2] for text in texts(prediction["result"])
    ]


def test_without_the_setting_only_regions_without_a_label_have_a_phrase(
    make_client: MakeClient,
) -> None:
    off, unset = make_client(PROVENANCE="false"), make_client()
    for prompt in ("red circle . star", "red shape"):
        plain = [ask(client, WIDE, prompt, config=PLAIN) for client in (off, unset)]
        for results in plain:
            for box in of_type(results, "rectanglelabels"):
                assert box.get("meta") == (
                    None if box["value"]["rectanglelabels"] else {"text": [prompt]}
                )
    request = body([WIDE], None, PLAIN)
    versions = [
        predict(client, request)[0]["model_version"]
        for client in (off, unset, make_client(PROVENANCE="true"))
    ]
    assert versions[0] == versions[1] != versions[2]
