"""What is tried for a label, and that a prompt of it is cut into the same phrases again."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounded_labeler.core.prompt import Phrase, parse_prompt
from grounded_labeler.core.types import Label
from grounded_labeler.errors import PromptError
from grounded_labeler.quality.phrases import (
    Phrases,
    asked_with,
    not_tried,
    plural_of,
    read_trials,
    trials,
    with_phrases,
)

LABELS = (Label("Car", ("automobile",)), Label("Person", prompt="person . -statue"), Label("a:b"))


def test_a_label_is_tried_by_its_names_their_plurals_and_what_is_given() -> None:
    extra = read_trials(["car: vehicle, sedan", "CAR: -toy car"], LABELS)
    car, person, _ = trials(LABELS, extra)
    assert car.now == Phrases(("Car",))
    assert car.every.wanted == ("Car", "automobile", "Cars", "automobiles", "vehicle", "sedan")
    assert car.every.unwanted == ("toy car",)
    assert person.now == Phrases(("person",), ("statue",))
    assert person.every == Phrases(("person", "people"), ("statue",))
    assert [step.prompt for step in person.steps] == ["person", "people", "-statue"]


def test_a_prompt_is_cut_into_the_phrases_it_was_made_of() -> None:
    chosen = {"Car": Phrases(("sedan", "red sports car"), ("toy car",))}
    labels = with_phrases(LABELS, chosen)
    assert labels[0].prompt == "sedan . red sports car . -toy car"
    assert asked_with(labels)["Car"] == chosen["Car"]
    assert asked_with(labels)["Person"] == asked_with(LABELS)["Person"]


def test_what_another_label_is_asked_with_is_not_tried() -> None:
    extra = read_trials(["Person: car, human", "Car: -person"], LABELS)
    car, person, _ = trials(LABELS, extra)
    assert person.every.wanted == ("person", "people", "human")
    assert car.every.unwanted == ()
    sentences = not_tried((car, person), extra)
    assert [one.split(". The")[0] for one in sentences] == [
        'Not tried for Car: "-person"', 'Not tried for Person: "car"',
    ]  # fmt: skip
    assert not_tried((car, person), read_trials(["Person: PERSON, human"], LABELS)) == [], "known"


def test_a_label_whose_value_no_prompt_can_say_keeps_its_phrases() -> None:
    labels = (Label("-ve cell"), Label("+ve cell"))
    extra = read_trials(["-ve cell: pale cell", "+ve cell: dark cell"], labels)
    negative, positive = trials(labels, extra)
    assert negative.every == negative.now == Phrases(("-ve cell",))
    assert "dark cell" in positive.every.wanted


def test_the_label_may_have_a_colon_or_be_named_by_what_is_taken_for_it() -> None:
    assert read_trials(["a:b: thing"], LABELS) == {"a:b": Phrases(("thing",))}
    assert read_trials(["automobile: sedan"], LABELS) == {"Car": Phrases(("sedan",))}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("vehicle", "names no label: write --try"),
        ("bus: coach", 'is for the label "bus", which is not there: the labels are Car, Person'),
        ("car:", "has no phrase"),
        ("car: , .", "has no phrase"),
        ("car: \udcff", "is no text in UTF-8"),
        (":", "which is not there"),
    ],
)
def test_what_cannot_be_tried_is_said(text: str, sentence: str) -> None:
    with pytest.raises(PromptError, match=sentence):
        read_trials([text], LABELS)


@pytest.mark.parametrize(
    ("singular", "plural"),
    [
        ("Car", "Cars"), ("traffic light", "traffic lights"), ("box", "boxes"), ("bus", "buses"),
        ("lorry", "lorries"), ("toy", "toys"), ("man", "men"), ("person", "people"),
        ("church", "churches"), ("cars", None), ("", None), ("2", None), ("Größe", None),
        ("knife", "knives"), ("STAR", "STARs"),
    ],
)  # fmt: skip
def test_plurals(singular: str, plural: str | None) -> None:
    assert plural_of(singular) == plural


def test_sets_of_phrases_are_compared_whatever_the_case() -> None:
    assert Phrases(("Car", "bus")).is_same(Phrases(("BUS", "car")))
    assert not Phrases(("car",)).is_same(Phrases((), ("car",)))
    assert (Phrases(("a",), ("b",)) | Phrases(("B",), ("A", "c"))) == Phrases(("a", "B"), ("c",))


@settings(max_examples=300)
@given(st.lists(st.text("ab1. ,-_\"'()&é\u2019:;>+#/", max_size=12), max_size=5))
def test_whatever_is_tried_every_set_of_it_is_cut_as_it_was_meant(texts: list[str]) -> None:
    phrases: list[Phrase] = []
    for text in texts:
        with suppress(PromptError):  # a ">" that no threshold follows
            phrases += parse_prompt(text, ()).phrases
    extra = Phrases(
        tuple(one.text for one in phrases if not one.negative),
        tuple(one.text for one in phrases if one.negative),
    )
    for trial in trials(LABELS, {"Car": extra, "a:b": extra}):
        asked = asked_with(with_phrases(LABELS, {trial.label: trial.every}))
        assert asked[trial.label].is_same(trial.every)
        for step in trial.steps:
            both = trial.now | step
            asked = asked_with(with_phrases(LABELS, {trial.label: both}))
            assert asked[trial.label].is_same(both)
            assert asked[trial.label].keys <= trial.every.keys


def test_a_phrase_to_try_has_no_threshold_of_its_own() -> None:
    sentence = r'^--try "Car: vehicle > 0\.3" has a box threshold'
    with pytest.raises(PromptError, match=sentence):
        read_trials(["Car: vehicle > 0.3"], LABELS)
    [trial] = [one for one in trials([Label("Car", prompt="car > 0.3")], {}) if one.label == "Car"]
    assert trial.now == Phrases(("car",))
