"""Box thresholds typed in a prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounded_labeler.core import signs, typed_thresholds
from grounded_labeler.core.label_matching import label_for
from grounded_labeler.core.prompt import (
    MAX_CHARACTERS,
    Phrase,
    Prompt,
    parse_prompt,
    phrases_from_labels,
)
from grounded_labeler.core.types import Label
from grounded_labeler.errors import PromptError

PROJECT = (Label("Cat"), Label("Dog"), Label("Car"))


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("red car > 0.2 . person", [Phrase("red car", threshold=0.2), Phrase("person")]),
        *(
            (text, [Phrase("red car", threshold=0.2)])
            for text in (
                "red car>0.2",
                "red car > .2",
                "red car >.2",
                "red car >0,2",
                "red car >,2",
                "red car >= 0.2",
                "red car > = 0.2",
                "red car ≥ 0.2",
                "red car ⩾0.2",
                "red car \uff1e 0.2",
                "red car\uff1e\uff10\uff0e\uff12",
                "red car \uff1e\uff1d 0\uff0c2",
                "red car > 20%",
                "red car > 20 %",
                "red car > 0.20",
                "red car > 0.2.",
                "red car > 0.2!",
                '"red car" > 0.2',
                '"red car > 0.2"',
                "“red car” > .2",
                "(red car > 0,2)",
                "red car (> 0.2)",
                "<red car> > 0.2",
                "1. red car > 0.2\n2. red car",
                "red car > 0.2\u200b",
                "red car > 0.2 . RED CAR > 0.5",
                "red car . red car > 0.2",
            )
        ),
        ("a > 0 . b > 1 . c > 0%, d > 100%", [
            Phrase("a", threshold=0.0), Phrase("b", threshold=1.0),
            Phrase("c", threshold=0.0), Phrase("d", threshold=1.0),
        ]),
        ("-toy car > 0.5", [Phrase("toy car", negative=True, threshold=0.5)]),
        ("red car\nblue bus > .3\nvan", [
            Phrase("red car"), Phrase("blue bus", threshold=0.3), Phrase("van"),
        ]),
        ("red car > 0,3, blue bus > 0,4", [
            Phrase("red car", threshold=0.3), Phrase("blue bus", threshold=0.4),
        ]),
        ("red car > 0.3.person", [Phrase("red car", threshold=0.3), Phrase("person")]),
        ("red car > 1,person", [Phrase("red car", threshold=1.0), Phrase("person")]),
        ('"red car > 0,2", "person, sitting"', [
            Phrase("red car", threshold=0.2), Phrase("person sitting"),
        ]),
        # Of a conjunction, it is that of the phrase before it.
        ("cats and dogs > 0.3", [Phrase("cats"), Phrase("dogs", threshold=0.3)]),
        ("cat > 0.2 and dog > 0.3", [
            Phrase("cat", threshold=0.2), Phrase("dog", threshold=0.3),
        ]),
        *(
            (f"cat > 0.2{joint}dog", [Phrase("cat", threshold=0.2), Phrase("dog")])
            for joint in (" / ", "/", " + ", "+", " & ", " and ", " plus ", " as well as ")
        ),
        ("black and white dog > 0.3", [Phrase("black and white dog", threshold=0.3)]),
        # With a label, in either order.
        *(
            (text, [Phrase("small cat", "Cat", threshold=0.3)])
            for text in (
                "small cat > 0.3 -> Cat",
                "small cat -> Cat > 0.3",
                "small cat>.3->Cat",
                "small cat->cat>30%",
                "small cat => Cat ≥ 0,3",
                "small cat --> Cat > 0.3",
                "small cat → Cat > 0.3",
                "small cat_Cat > 0.3",
                '"small cat" -> Cat > 0.3',
            )
        ),
        # Arrows stay arrows, and signs around words stay signs around words.
        ("small cat -> 0.3", [Phrase("small cat", "0.3")]),
        ("small cat => 0.3", [Phrase("small cat", "0.3")]),
        ("small cat -> Animals > Cat", [Phrase("small cat", "Animals > Cat")]),
        ("<red car>", [Phrase("red car")]),
        ("a <b>red</b> car", [Phrase("a b red b car")]),
        ("> red car", [Phrase("red car")]),
        (">> red car > 0.5", [Phrase("red car", threshold=0.5)]),
    ],
)  # fmt: skip
def test_a_threshold_is_that_of_the_phrase_before_it(text: str, phrases: list[Phrase]) -> None:
    assert parse_prompt(text, PROJECT) == Prompt(tuple(phrases))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("red car > 2", 'In "red car > 2", a box threshold from 0 to 1 must follow ">"'),
        ("dog . red car > 20", 'In "red car > 20"'),
        ("red car > 101%", "from 0 to 1"),
        ("red car > -0.2", "from 0 to 1"),
        ("red car >", "from 0 to 1"),
        ("red car ≥ . person", 'must follow "≥"'),
        ("red car > blue car", "from 0 to 1"),
        ("red car > nan", "from 0 to 1"),
        ("Animals > Dog", "from 0 to 1"),
        ("cat -> Cat > 3", "from 0 to 1"),
        ("cat -> Cat >", "from 0 to 1"),
        ("> 0.3", 'there is no phrase before "> 0.3"'),
        ("dog . > 0.3", "there is no phrase before"),
        ("dog > 0.3 > 0.4", "there is no phrase before"),
        ("dog > 0.3 -> Dog > 0.4", '"dog" has two box thresholds, 0.3 and 0.4'),
        ("dog > 0.3 cat", 'In "dog > 0.3 cat", a separator is missing'),
        ("dog > 0.3.5", "a separator is missing"),
        ("dog > 1/2", "a separator is missing"),
        ("dog > 0.3 and cat -> Cat", "a separator is missing"),
    ],
)
def test_what_is_no_threshold_is_one_sentence_for_the_annotator(text: str, said: str) -> None:
    with pytest.raises(PromptError) as error:
        parse_prompt(text, PROJECT)
    sentence = str(error.value)
    assert said in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("name", "typed", "threshold"),
    [
        ("Animals > Dog", "Animals > Dog", None),
        ("Animals > Dog", "animals>dogs", None),
        ("Animals > Dog", '"Animals > Dog"', None),
        ("Animals > Dog", "Animals > Dog > 0.4", 0.4),
        ("Animals > Dog", "puppy -> Animals > Dog", None),
        ("Animals > Dog", "puppy -> Animals > Dog > 0.4", 0.4),
        ("Animals > Dog", "puppy > 0.4 -> animals > dog", 0.4),
        ("size > 0.5", "size > 0.5", None),
        ("size > 0.5", "size > 0.5 > 0.2", 0.2),
        ("size > 0,5", "size > 0,5", None),
        ("size ≥ 5", "size ≥ 5", None),
        (">50", ">50", None),
        (">50", "> 50", None),
        (">50", "coin -> > 50", None),
        ("x >", "x>", None),
        ("a -> b", "thing -> a -> b", None),
        ("<b>", "circle -> <b>", None),
        ("<b>", "circle > 0.2 -> <b>", 0.2),
        ("<b>", "circle -> <b> > 0.2", 0.2),
    ],
)
def test_a_sign_in_the_name_of_a_label_is_a_part_of_it(
    name: str, typed: str, threshold: float | None
) -> None:
    labels = (*PROJECT, Label(name))
    (phrase,) = parse_prompt(typed, labels).phrases
    assert (label_for(phrase, labels), phrase.threshold) == (name, threshold)


def test_a_label_may_have_thresholds_in_its_own_prompt() -> None:
    labels = (Label("C1", prompt="small cat > .3 . kitten > 20%, -toy cat"), Label("Dog"))
    phrases = (
        Phrase("small cat", "C1", threshold=0.3),
        Phrase("kitten", "C1", threshold=0.2),
        Phrase("toy cat", "C1", negative=True),
        Phrase("Dog", "Dog"),
    )
    assert phrases_from_labels(labels) == Prompt(phrases)
    assert label_for(parse_prompt("small cat > 0.9", labels).phrases[0], labels) == "C1"


def test_the_sentence_about_a_label_names_it() -> None:
    with pytest.raises(
        PromptError, match=r'^The prompt of the label "C1" cannot be read\. In "cat'
    ):
        phrases_from_labels([Label("C1", prompt="cat > 2")])


@pytest.mark.parametrize("unit", [">", " > ", "_>", "<>", "(>"])
def test_the_longest_prompt_of_signs_is_looked_through_once(
    unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0

    def count(text: str) -> bool:
        nonlocal seen
        seen += len(text)
        return is_empty(text)

    is_empty = typed_thresholds._is_empty
    monkeypatch.setattr(typed_thresholds, "_is_empty", count)
    text = unit * (MAX_CHARACTERS // len(unit))
    assert parse_prompt(text, PROJECT) == Prompt(())
    assert seen <= 2 * len(text)


SIGNS = [*"catDOG 035._-,;→\n<\uff05%=()\"'", *signs.ABOVE_SIGNS, " and ", "> 0.2", " -> "]


@given(st.lists(st.sampled_from(SIGNS), max_size=25).map("".join), st.lists(st.text(max_size=6)))
def test_whatever_is_typed_there_are_fractions_or_a_sentence(text: str, values: list[str]) -> None:
    try:
        phrases = parse_prompt(text, [Label(value) for value in values]).phrases
    except PromptError as error:
        assert str(error).endswith(".")
    else:
        assert all(one.threshold is None or 0 <= one.threshold <= 1 for one in phrases)


@given(st.text())
def test_without_a_sign_no_phrase_has_a_threshold_and_nothing_is_refused(text: str) -> None:
    for sign in signs.ABOVE_SIGNS:
        text = text.replace(sign, " ")
    assert not [one for one in parse_prompt(text, PROJECT).phrases if one.threshold is not None]


WORDS = st.lists(st.sampled_from(["red", "car", "small", "cat", "star"]), min_size=1, max_size=3)


@given(st.lists(WORDS.map(" ".join), min_size=1, max_size=5, unique=True), st.data())
def test_a_threshold_changes_nothing_of_a_prompt_but_its_phrase(
    texts: list[str], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(texts) - 1))
    steps = data.draw(st.integers(0, 100))
    forms = ["{:.2f}", "{:.3f}", "{:.2%}"]
    typed = list(texts)
    typed[place] += " > " + data.draw(st.sampled_from(forms)).format(steps / 100)
    plain = parse_prompt(" . ".join(texts), PROJECT).phrases
    phrases = parse_prompt(" . ".join(typed), PROJECT).phrases
    assert Prompt(phrases).without_thresholds() == Prompt(plain)
    assert [one.threshold for one in phrases] == [
        pytest.approx(steps / 100) if i == place else None for i in range(len(texts))
    ]
