"""Prompts with the label each of their phrases must get, one a line."""

import csv
from pathlib import Path

import pytest

from grounded_labeler.core.label_matching import label_for
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import Label

CASES = Path(__file__).parents[1] / "data" / "cases"


def rows(name: str) -> list[tuple[str, str, str]]:
    """A file's rows: prompt ("{LF}" is a line end), labels by "|", expected labels by ";"."""
    with (CASES / name).open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(reader)
        return [
            (prompt.replace("{LF}", "\n"), labels, expected) for prompt, labels, expected in reader
        ]


def given_labels(prompt: str, labels: tuple[Label, ...]) -> list[str]:
    """What each phrase of a typed prompt is labelled with; "-" for none."""
    phrases = parse_prompt(prompt, labels).phrases
    return [label_for(phrase, labels) or "-" for phrase in phrases]


@pytest.mark.parametrize(
    ("prompt", "labels", "expected"), [*rows("phrases.tsv"), *rows("phrases_more.tsv")]
)
def test_each_phrase_gets_its_label(prompt: str, labels: str, expected: str) -> None:
    project = tuple(Label(value) for value in labels.split("|"))
    assert given_labels(prompt, project) == expected.split(";")


# Labels with other names than their values.
PETS = (
    Label("C1", ("hound", "St. Bernard", "salt and pepper schnauzer"), "a photo of a dog"),
    Label("C2", ("tom cat",), "a cat with a hat. kitten, -toy cat"),
    Label("Cat"),
    Label("Bird", (), "birds and bats"),
    Label("Truck", ("vehicle",)),
    Label("Car", ("vehicle", "B-12")),
    Label("Bus", ("B12",)),
)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        # A label's own prompt, typed by hand.
        ("a photo of a dog", ["C1"]),
        ("A Photo of a DOG!", ["C1"]),
        ("dog", ["C1"]),
        ("a cat with a hat", ["C2"]),
        ("kitten . dog", ["C2", "C1"]),
        ("a cat with a hat. kitten, -toy cat", ["C2", "C2", "Cat"]),
        ("birds and bats", ["Bird", "Bird"]),
        # What another label asks for is not what its name is.
        ("cat", ["Cat"]),
        ("a photo of a cat", ["Cat"]),
        # Predicted values hold separators and conjunctions as values do.
        ("st. bernard", ["C1"]),
        ("two St. Bernards, kitten", ["C1", "C2"]),
        ("big salt & pepper schnauzer", ["C1"]),
        ("dog -> St. Bernard", ["C1"]),
        # Two labels have this one.
        ("vehicle", ["-"]),
        ("red vehicle", ["-"]),
        # Exactly, before by words.
        ("B12", ["Bus"]),
        ("B-12", ["Car"]),
        ("b12", ["Bus"]),
    ],
)
def test_other_names_of_a_label_are_as_good(prompt: str, expected: list[str]) -> None:
    assert given_labels(prompt, PETS) == expected


@pytest.mark.parametrize(
    ("prompt", "labels", "texts"),
    [
        ("a photo of a cat", "Cat", ["cat"]),
        ("a close-up photo of two cats", "Cat", ["cats"]),
        ("please find all cats", "Cat", ["cats"]),
        ("a cat", "Cat", ["a cat"]),
        ("pair of shoes", "Shoe", ["pair of shoes"]),
        ("photo", "Photo", ["photo"]),
        ("“red circle” !", "Circle", ["red circle"]),
        ("person (sitting)", "Person", ["person sitting"]),
        ("red circle 🔴", "🔴 Circle", ["red circle"]),
        ("🔴", "🔴", ["🔴"]),
        ("St. Bernard", "St. Bernard", ["St Bernard"]),
        ("C++ book", "C++ Book", ["C++ book"]),
        ("circle(s)", "Circle(s)", ["circle"]),
        ("car #2", "Car", ["car 2"]),
        ("a 3.5 inch disk: big", "Disk", ["a 3.5 inch disk big"]),
        ("cat, dog and bird", "Cat", ["cat", "dog", "bird"]),
        ("left and right hand", "Left Hand|Right Hand", ["left hand", "right hand"]),
        ("black and white dog", "Dog", ["black and white dog"]),
        ("!!! ? ...", "Cat", []),
        ("12:30 clock", "Clock", ["12:30 clock"]),
        ("teddy-bear", "Bear", ["teddy-bear"]),
        ("no helmet", "Helmet", ["no helmet"]),
    ],
)
def test_what_the_detector_is_asked(prompt: str, labels: str, texts: list[str]) -> None:
    project = tuple(Label(value) for value in labels.split("|"))
    assert [phrase.text for phrase in parse_prompt(prompt, project).phrases] == texts


def test_all_cases_are_there() -> None:
    assert len(rows("phrases.tsv")) == 86
    assert len(rows("phrases_more.tsv")) >= 300
