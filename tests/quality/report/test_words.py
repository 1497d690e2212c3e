"""Figures in sentences: what is not defined is told, and nothing is rounded to what it is not."""

import numpy as np
import pytest

from grounded_labeler.evaluation.intervals import Interval
from grounded_labeler.quality.figures import Figures, Rate, figures_of
from grounded_labeler.quality.measure import measure
from grounded_labeler.quality.report import words
from tests.quality.faked import Scored, random_image, scored_image, truth

BoxEdges = tuple[float, float, float, float]
BOX, OTHER = (10.0, 10.0, 60.0, 60.0), (200.0, 10.0, 300.0, 60.0)


def of(
    *images: tuple[list[Scored], list[tuple[str, BoxEdges]]], labels: tuple[str, ...] = ("car",)
) -> Figures:
    made = [
        scored_image(scored, truth(true), labels, task=i) for i, (scored, true) in enumerate(images)
    ]
    return figures_of(measure(made, labels), {})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not defined"),
        (0.0, "0.00"),
        (0.004, "< 0.01"),
        (0.5, "0.50"),
        (0.996, "> 0.99"),
        (1.0, "1.00"),
    ],
)
def test_a_figure_is_not_rounded_to_all_or_nothing(value: float | None, text: str) -> None:
    assert words.figure(value) == text


def test_a_rate_is_written_with_its_interval() -> None:
    assert words.rate("recall", Rate(0.9, Interval(0.87, 0.93))) == "recall 0.90, 0.87 to 0.93"
    assert words.rate("recall", Rate(None, None)) == "recall not defined"


def test_what_came_out_is_said_in_sentences() -> None:
    figures = of(
        ([("car", BOX, 0.9)], [("car", BOX), ("dog", OTHER)]),
        ([("car", OTHER, 0.9), ("dog", BOX, 0.8)], [("dog", OTHER), ("dog", BOX)]),
        labels=("car", "dog"),
    )
    assert words.summary(figures) == [
        "Of 4 objects in 2 images, 2 were found (recall 0.50, 0.15 to 0.85).",
        "Of 3 detections, 2 were right (precision 0.67, 0.21 to 0.94).",
        "Best is “car” (F1 0.67), weakest “dog” (F1 0.50): of 3 objects 2 were missed, and "
        "0 detections were wrong.",
        "“dog” was taken for “car” 1 time.",
    ]


def test_nothing_found_nothing_true_and_no_image_are_said() -> None:
    assert words.summary(of(([], [("car", BOX)]))) == [
        "Of 1 “car” object in 1 image, none was found (recall 0.00, 0.00 to 0.79).",
        "Nothing was detected, so that precision is not defined.",
    ]
    [first, *_] = words.summary(of(([("car", BOX, 0.9)], [])))
    assert first == (
        "The truth has no object of the labels that were looked for in 1 image; 1 detection was "
        "wrong."
    )
    [first, *_] = words.summary(of(([], [])))
    assert first.endswith("nothing was detected either.")
    assert words.summary(of()) == ["No image could be measured."]


def test_labels_that_are_detected_alike_have_no_best_one() -> None:
    figures = of(
        ([("car", BOX, 0.9), ("dog", OTHER, 0.9)], [("car", BOX), ("dog", OTHER)]),
        labels=("car", "dog"),
    )
    assert words.summary(figures)[2:] == [
        "All labels are detected equally well (F1 1.00, 0.34 to 1.00).",
        "No label was taken for another.",
    ]


def test_what_the_figures_do_not_say_is_in_the_notes() -> None:
    figures = of(
        ([("car", BOX, 0.9)], [("car", BOX), ("tree", OTHER), ("tree", BOX)]),
        labels=("car", "dog"),
    )
    said = "\n".join(words.notes(figures, 0.05))
    assert "The truth has no object of “dog”" in said
    assert "2 objects (2 of “tree”) in the truth were not looked for" in said
    assert "There is little truth for “car”: 1 object, so that its recall" in said
    assert "all that scores at least 0.05" in said


def test_another_threshold_is_named_where_it_would_be_better() -> None:
    low = of(([("car", BOX, 0.2)], [("car", BOX)]))
    assert any(
        "F1 would be highest on these images at 0.12 (1.00)" in one
        for one in words.notes(low, 0.05)
    )
    good = of(([("car", BOX, 0.9)], [("car", BOX)]))
    assert any("No single threshold for all labels" in one for one in words.notes(good, 0.05))
    assert not any("single threshold" in one for one in words.notes(of(([], [])), 0.05))


def test_many_labels_with_little_truth_are_counted() -> None:
    labels = tuple(f"label {i}" for i in range(15))
    figures = of(([], [(label, BOX) for label in labels]), labels=labels)
    said = words.notes(figures, 0.05)
    assert sum("would halve that interval" in note for note in said) == 3
    assert any("“label 12”, 2 other labels, too: the table" in note for note in said)


def test_long_and_broken_names_stay_on_their_line() -> None:
    assert words.quoted("a\nb") == "“a\\u000ab”"
    assert len(words.quoted("x" * 500)) < 70


def test_notes_of_random_images_hold_no_number_that_is_none() -> None:
    rng = np.random.default_rng(0)
    labels = ("car", "dog")
    images = [random_image(rng, labels, task=i) for i in range(5)]
    figures = figures_of(measure(images, labels), {})
    for sentence in (*words.summary(figures), *words.notes(figures, 0.05)):
        assert "None" not in sentence
        assert "nan" not in sentence
