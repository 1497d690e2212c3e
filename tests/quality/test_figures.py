"""Figures are plain values, with None where there is nothing to count."""

import numpy as np
import pytest

from grounded_labeler.evaluation.intervals import wilson
from grounded_labeler.quality.figures import Rate, figures_of
from grounded_labeler.quality.measure import measure
from tests.quality.faked import random_image, scored_image, truth

BOX, OTHER = (10.0, 10.0, 30.0, 30.0), (100.0, 100.0, 200.0, 200.0)


def test_each_label_has_its_counts_and_intervals() -> None:
    images = [
        scored_image(
            [("car", BOX, 0.9)], truth([("car", BOX), ("dog", OTHER)]), ["car", "dog"], task=i
        )
        for i in range(4)
    ]
    figures = figures_of(measure(images, ["car", "dog"]), {9: "No image."})
    car, dog = figures.labels
    assert (car.truths, car.found, car.missed, car.wrong) == (4, 4, 0, 0)
    assert car.recall == Rate(1.0, wilson(4, 4))
    assert (dog.truths, dog.found, dog.missed) == (4, 0, 4)
    assert dog.precision == Rate(None, None)
    assert (dog.recall.value, dog.f1.value) == (0.0, 0.0)
    assert (figures.total.found, figures.total.missed) == (4, 4)
    assert figures.failed == {9: "No image."}
    assert [one.task for one in figures.worst] == [0, 1, 2, 3]


def test_objects_are_told_by_their_size() -> None:
    one = truth([("car", BOX), ("car", OTHER)])
    figures = figures_of(measure([scored_image([("car", BOX, 0.9)], one, ["car"])], ["car"]), {})
    assert [(size.name, size.truths, size.found) for size in figures.sizes] == [
        ("small", 1, 1),
        ("medium", 0, 0),
        ("large", 1, 0),
    ]
    assert figures.sizes[1].recall == Rate(None, None)
    assert figures.sizes[0].ap == pytest.approx(1)


def test_little_truth_is_told_with_how_much_more_would_help() -> None:
    rng = np.random.default_rng(0)
    images = [random_image(rng, ["car"], task=i) for i in range(99)]
    few, many = (figures_of(measure(some, ["car"]), {}).labels[0] for some in (images[:1], images))
    assert few.truths < 10 and few.more_to_halve
    assert many.more_to_halve is None


def test_nothing_is_not_a_number() -> None:
    figures = figures_of(measure([], ["car"]), {})
    assert figures.total.f1 == Rate(None, None)
    assert set(figures.curves[0].precision) == {None}
    assert figures.curves[0].best is None


def test_the_best_threshold_lies_in_the_middle_of_those_that_are_as_good() -> None:
    one = scored_image([("car", BOX, 0.8), ("car", OTHER, 0.2)], truth([("car", BOX)]), ["car"])
    figures = figures_of(measure([one], ["car"]), {})
    assert figures.curves[0].best == pytest.approx(0.5)
    assert figures.curves[0].best_f1 == 1.0
