from collections import Counter

import pytest

from grounded_labeler.core.label_matching import label_for, labels_of
from grounded_labeler.core.label_names import LabelNames
from grounded_labeler.core.prompt import MAX_PHRASES, Phrase, names_of, parse_prompt
from grounded_labeler.core.types import Label

SIZE_WH = (100, 80)


def labels(*values: str) -> tuple[Label, ...]:
    return tuple(Label(value) for value in values)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("cats", "cat"),
        ("cat", "cats"),
        ("boxes", "box"),
        ("box", "boxes"),
        ("buses", "bus"),
        ("bus", "buses"),
        ("glasses", "glass"),
        ("cities", "city"),
        ("leaves", "leaf"),
        ("knives", "knife"),
        ("gloves", "glove"),
        ("men", "man"),
        ("women", "woman"),
        ("firemen", "fireman"),
        ("people", "person"),
        ("person", "people"),
        ("children", "child"),
        ("mice", "mouse"),
        ("geese", "goose"),
        ("feet", "foot"),
        ("teeth", "tooth"),
        ("cacti", "cactus"),
        ("potatoes", "potato"),
        ("shoes", "shoe"),
        ("movies", "movie"),
        ("benches", "bench"),
        ("horses", "horse"),
        ("axes", "axe"),
        ("taxis", "taxi"),
        ("sheep", "sheep"),
        ("fire trucks", "fire truck"),
    ],
)
def test_number_does_not_matter(text: str, label: str) -> None:
    assert label_for(Phrase(text), labels("other", label)) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("glass", "glas"),
        ("grass", "gras"),
        ("princess", "prince"),
        ("caves", "cafe"),
        ("cars", "care"),
        ("caps", "cape"),
        ("specimen", "species"),
        ("moss", "mos"),
    ],
)
def test_words_that_only_look_like_a_plural_stay_apart(text: str, label: str) -> None:
    assert label_for(Phrase(text), labels(label)) is None
    assert label_for(Phrase(label), labels(text)) is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("CAT", "Cat"),
        ("fire truck", "Fire_Truck"),
        ("fire-truck", "fire truck"),
        ("firetruck", "fire truck"),
        ("traffic light", "traffic_lights"),
        ("STRASSE", "Straße"),
        ("cafe\u0301", "café"),  # the accent as a character of its own
        ("猫", "猫"),
        ("кошка", "Кошка"),
        ("katten", "katten"),
    ],
)
def test_case_and_spacing_do_not_matter(text: str, label: str) -> None:
    assert label_for(Phrase(text), labels("other", label)) == label


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("brown cat", ["dog", "cats"], "cats"),
        ("the cats", ["cat"], "cat"),
        # The noun before a preposition, not the one after it.
        ("cat with a hat", ["hat", "cat"], "cat"),
        ("cat on a mat", ["mat"], None),
        ("person wearing a red hat", ["hat", "person"], "person"),
        ("man eating pizza", ["pizza", "man"], "man"),
        ("woman using phone", ["phone"], None),
        ("man next to a horse", ["horse", "man"], "man"),
        ("old fire trucks in a street", ["street", "truck", "fire_truck"], "fire_truck"),
        # The longest label that ends the noun phrase.
        ("big fire truck", ["truck", "fire truck"], "fire truck"),
        ("big firetruck", ["fire truck"], "fire truck"),
        ("big truck", ["fire truck"], None),
        ("truck driver", ["truck"], None),
        # Only whole words: a caterpillar is no cat, a tomcat no cat either.
        ("green caterpillar", ["cat"], None),
        ("tomcat", ["cat"], None),
        # Labels with a preposition of their own.
        ("white piece of paper", ["paper", "piece of paper"], "piece of paper"),
        ("white pieces of paper", ["piece"], "piece"),
        # A word that would cut, but comes first.
        ("standing lamp", ["lamp"], "lamp"),
        ("over", ["over"], "over"),
        ("with", ["cat"], None),
        # Both a word and its plural are labels: what was typed wins.
        ("glasses", ["glass", "glasses"], "glasses"),
        ("glass", ["glasses", "glass"], "glass"),
        ("wine glasses", ["glass", "glasses"], "glasses"),
        ("", ["cat"], None),
        ("-", ["-", "cat"], None),
        ("cat", [], None),
    ],
)
def test_a_phrase_means_the_label_that_is_its_head(
    text: str, values: list[str], expected: str | None
) -> None:
    assert label_for(Phrase(text), labels(*values)) == expected


PETS = (Label("cat", ("kitten", "Main Coon")), Label("C1", ("Kitty", "dog")), Label("kitty"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kitten", "cat"),
        ("KITTENS", "cat"),
        ("main-coon", "cat"),
        ("small brown kitten", "cat"),
        ("dog", "C1"),
        # A value before another label's predicted value.
        ("kitty", "kitty"),
        ("big kitty", "kitty"),
    ],
)
def test_predicted_values_mean_their_label(text: str, expected: str) -> None:
    assert label_for(Phrase(text), PETS) == expected


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        (Phrase("dog", "cat"), "cat"),  # whatever the text means
        (Phrase("dog", "Cats"), "cat"),
        (Phrase("dog", "kitten"), "cat"),
        (Phrase("cat", "bird"), None),  # not in the project, and not guessed at
        (Phrase("dog", "small cat"), None),
        (Phrase("cat", "-"), None),
    ],
)
def test_the_label_a_prompt_names_comes_first(phrase: Phrase, expected: str | None) -> None:
    assert label_for(phrase, PETS) == expected


@pytest.mark.parametrize("value", ["-", "re-sort", "resort", "C++", " cat ", "piece of paper"])
def test_a_label_that_was_asked_for_is_itself(value: str) -> None:
    project = labels("re-sort", "resort", "-", "C++", " cat ", "cat", "piece of paper", "paper")
    assert label_for(Phrase("x", value), project) == value


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often names are put into tables, texts are searched and names are compared."""
    counted: Counter[str] = Counter()

    def count(name: str) -> None:
        real = getattr(LabelNames, name)

        def counting(*args: object, **kwargs: object) -> object:
            counted[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(LabelNames, name, counting)

    for name in ("__init__", "_search", "equal"):
        count(name)
    names_of.cache_clear()
    labels_of.cache_clear()
    return counted


def test_labels_are_matched_once_a_prompt_and_not_for_every_image(counts: Counter[str]) -> None:
    project = labels(*(f"part {i}" for i in range(MAX_PHRASES)))
    prompt = parse_prompt(" . ".join(f"red part {i}" for i in range(MAX_PHRASES)), project)
    assert len(prompt.phrases) == MAX_PHRASES
    read = Counter(counts)
    assert read["_search"] == MAX_PHRASES
    for _ in range(3):
        # Label Studio sends the label config with every request: equal labels, made anew.
        again = tuple(Label(label.value) for label in project)
        assert labels_of(prompt.phrases, again)[-1] == f"part {MAX_PHRASES - 1}"
        assert all(label_for(phrase, again) for phrase in prompt.phrases[:10])
    assert counts == read


def test_matching_a_phrase_does_not_depend_on_how_many_labels_there_are(
    counts: Counter[str],
) -> None:
    def compared(size: int) -> int:
        before = counts["equal"]
        label_for(Phrase("old red fire trucks in a street"), labels(*map(str, range(size))))
        return counts["equal"] - before

    assert compared(10) == compared(3000) < 100
