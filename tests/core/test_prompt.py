from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grounded_labeler.core.label_matching import labels_of
from grounded_labeler.core.prompt import (
    MAX_CHARACTERS,
    Phrase,
    Prompt,
    _parsed,
    parse_prompt,
    phrases_from_labels,
)
from grounded_labeler.core.types import Label
from grounded_labeler.errors import PromptError

PROJECT = (Label("cats"), Label("Fire_Truck"), Label("house"))


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("", []),
        (" \n\t", []),
        ("cat", ["cat"]),
        ("cats . house", ["cats", "house"]),
        ("cat.dog,bird;fish\nmouse\r\nrat", ["cat", "dog", "bird", "fish", "mouse", "rat"]),
        (" . ,; cat . . ,\n", ["cat"]),
        ("  brown \t cat\u00a0here ", ["brown cat here"]),
        # A dot between two digits is part of a number, any other dot ends a phrase.
        ("a 3.5 inch disk. 2 cats", ["a 3.5 inch disk", "2 cats"]),
        ("cat 3. dog", ["cat 3", "dog"]),
        ("route 66.cat", ["route 66", "cat"]),
        ("no.5", ["no", "5"]),
        # The same text twice, however it is written, is asked once.
        ("Cat . cat, CAT", ["Cat"]),
        ("fire_truck, fire truck", ["fire truck"]),
        ("teddy-bear", ["teddy-bear"]),
        ("katt . größere Straße . 猫", ["katt", "größere Straße", "猫"]),
    ],
)
def test_a_prompt_is_cut_into_phrases(text: str, texts: list[str]) -> None:
    assert parse_prompt(text, ()) == Prompt(tuple(Phrase(part) for part in texts))


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("brown cat -> cats", Phrase("brown cat", "cats")),
        ("brown cat→CATS", Phrase("brown cat", "cats")),
        ("small  car ->  fire_truck ", Phrase("small car", "Fire_Truck")),
        # A label the project does not have is kept, to be told about.
        ("dog -> Dogs", Phrase("dog", "Dogs")),
        ("dog ->", Phrase("dog")),
        ("dog -> a -> b", Phrase("dog", "a -> b")),
        # The tutorial's way of naming the label.
        ("brown cat_cats", Phrase("brown cat", "cats")),
        ("brown cat_Cats", Phrase("brown cat", "cats")),
        ("brown cat _ cats", Phrase("brown cat", "cats")),
        ("red_lorry_fire_truck", Phrase("red lorry", "Fire_Truck")),
        # An underscore before anything else is a part of the word.
        ("brown_cat", Phrase("brown cat")),
        ("_cats", Phrase("cats")),
        ("fire_truck", Phrase("fire truck")),
        ("brown_cat -> house", Phrase("brown cat", "house")),
    ],
)
def test_a_phrase_may_name_its_label(text: str, phrase: Phrase) -> None:
    assert parse_prompt(text, PROJECT) == Prompt((phrase,))


def test_a_prompt_is_parsed_once_for_the_labels_of_a_project() -> None:
    """A request reads one prompt several times: for its version, its queries and its memory."""
    _parsed.cache_clear()
    for labels in (PROJECT, list(PROJECT), PROJECT[:1]):
        for _ in range(2):
            assert parse_prompt("a cat. a house", labels).phrases[0].text == "a cat"
    assert _parsed.cache_info().misses == 2


def test_a_label_that_is_a_part_of_another_does_not_cut_it() -> None:
    (phrase,) = parse_prompt("fire_truck", [Label("truck"), Label("fire_truck")]).phrases
    assert phrase == Phrase("fire truck")


@pytest.mark.parametrize("text", ["cat, cat -> house", "cat -> house, cat", "cat_house.Cat -> x"])
def test_a_repeated_phrase_keeps_the_label_it_names_once(text: str) -> None:
    assert parse_prompt(text, PROJECT) == Prompt((Phrase("cat", "house"),))


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("dog . -toy dog", [Phrase("dog"), Phrase("toy dog", negative=True)]),
        ("dog . - toy dog", [Phrase("dog"), Phrase("toy dog", negative=True)]),
        ("--toy", [Phrase("toy", negative=True)]),
        ("-x-ray", [Phrase("x-ray", negative=True)]),
        ("_-_toy", [Phrase("toy", negative=True)]),
        ("-", []),
        ("cat, - , --", [Phrase("cat")]),
        ("-> cats", []),
        ("-toy cat -> cats", [Phrase("toy cat", "cats", negative=True)]),
        # Asking for a thing and for its absence: the minus sign counts.
        ("cat, -cat", [Phrase("cat", negative=True)]),
        ("-cat, cat", [Phrase("cat", negative=True)]),
    ],
)
def test_a_minus_sign_makes_a_phrase_negative(text: str, phrases: list[Phrase]) -> None:
    assert parse_prompt(text, PROJECT) == Prompt(tuple(phrases))


@given(st.text(alphabet=st.sampled_from("catDOG 35._-,;>→\n")), st.lists(st.text(max_size=5)))
def test_phrases_are_clean_whatever_is_typed(text: str, label_values: list[str]) -> None:
    try:
        phrases = parse_prompt(text, [Label(value) for value in label_values]).phrases
    except PromptError:
        assume(False)
    texts = [phrase.text.casefold() for phrase in phrases]
    assert len(set(texts)) == len(texts)
    for part in texts:
        assert part == " ".join(part.split()) != ""
        assert "_" not in part
        assert not part.startswith("-")
    again = parse_prompt("\n".join(phrase.text for phrase in phrases), ())
    assert [phrase.text for phrase in again.phrases] == [phrase.text for phrase in phrases]


PROMPT_SIGNS = st.sampled_from([*"catDOG 35._-,;>→\n", *"\"'“”()[]!?:#&/|、。؛*🔴\u200b\ufe0f"])


@given(st.lists(PROMPT_SIGNS, max_size=30).map("".join))
def test_whatever_stands_beside_the_words_they_are_read_the_same_again(text: str) -> None:
    try:
        texts = [phrase.text for phrase in parse_prompt(text, PROJECT).phrases]
    except PromptError:
        assume(False)
    again = parse_prompt("\n".join(texts), PROJECT)
    assert [phrase.text for phrase in again.phrases] == texts


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "and ",
            "cat and ",
            "cat/",
            "a_",
            "_",
            "-",
            "=",
            "-> ",
            "*",
            "!",
            "🔴",
            "o",
            "(",
            "[(",
            "(a ",
        ),
        *("'", '"', '"a ', '" ', "s' ", "猫和", "St. ", "the ", "red ", "walking ", "photo of "),
        *("1. a\n", "1.", "(s)", " ", "\u200b", "no ", "of ", "cat and\n", "is a "),
        *("a > 0.2 . ", "a > 0.2 and ", "<a> ", "<", "> ", "a <b>, ", "-> a > 0.5 "),
    ],
)
def test_no_prompt_keeps_the_service_busy(pattern: str) -> None:
    """What takes the square of its length takes minutes here."""
    project = (*PROJECT, Label("St. Bernard"), Label("cat and dog, or bird"), Label("猫"))
    text = (pattern * MAX_CHARACTERS)[: MAX_CHARACTERS - 1]
    for typed in (text, f"a{text}b"):
        with suppress(PromptError):
            labels_of(parse_prompt(typed, project).phrases, project)


def test_a_label_with_many_separators_does_not_keep_the_service_busy() -> None:
    project = tuple(Label(f"{'a, ' * i}b{i}") for i in range(300))
    parse_prompt("a, " * 13_000, project)


@pytest.mark.parametrize(
    ("labels", "phrases"),
    [
        ([], []),
        ([Label("Fire_Truck")], [Phrase("Fire Truck", "Fire_Truck")]),
        ([Label("cat", ("kitten",))], [Phrase("cat", "cat")]),
        (
            [Label("C1", ("Cat",), "small cat . kitten")],
            [Phrase("small cat", "C1"), Phrase("kitten", "C1")],
        ),
        (
            [Label("dog", prompt="dog, -toy dog")],
            [Phrase("dog", "dog"), Phrase("toy dog", "dog", negative=True)],
        ),
        # A label is one phrase, whatever its value holds: separators would cut the caption.
        ([Label("St. Bernard")], [Phrase("St Bernard", "St. Bernard")]),
        ([Label("-other")], [Phrase("-other", "-other")]),
        ([Label("...")], []),
        # Two labels cannot have the same phrase: the first has it.
        ([Label("a", prompt="dog"), Label("dog")], [Phrase("dog", "a")]),
    ],
)
def test_labels_become_phrases(labels: list[Label], phrases: list[Phrase]) -> None:
    assert phrases_from_labels(labels) == Prompt(tuple(phrases))
