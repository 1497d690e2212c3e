"""Two evaluations compared: what each gained and lost, and whether the images tell them apart."""

import numpy as np
import pytest

from grounded_labeler.quality.comparison import ComparisonFigures, compare
from grounded_labeler.quality.figures import figures_of
from grounded_labeler.quality.measure import measure
from grounded_labeler.quality.report.comparing import comparison_summary, words_of_difference
from tests.quality.faked import random_image, scored_image, truth

BOX, OTHER, THIRD = (10.0, 10.0, 60.0, 60.0), (200.0, 10.0, 300.0, 60.0), (10.0, 200.0, 60.0, 300.0)


def test_each_object_and_each_wrong_detection_is_of_one_or_both() -> None:
    true = truth([("car", BOX), ("car", OTHER), ("dog", THIRD)])
    labels = ("car", "dog")
    wrong, far = (400.0, 300.0, 450.0, 350.0), (500.0, 100.0, 550.0, 150.0)
    a = measure(
        [scored_image([("car", BOX, 0.9), ("car", wrong, 0.8), ("dog", far, 0.5)], true, labels)],
        labels,
    )
    b = measure(
        [scored_image([("car", OTHER, 0.9), ("car", wrong, 0.4), ("car", far, 0.5)], true, labels)],
        labels,
    )
    both = compare(a, b)
    car, dog = both.labels
    assert (car.both, car.only_a, car.only_b, car.neither) == (0, 1, 1, 0)
    assert (car.wrong_both, car.wrong_only_a, car.wrong_only_b) == (1, 0, 1)
    assert (dog.both, dog.only_a, dog.only_b, dog.neither) == (0, 0, 0, 1)
    assert (dog.wrong_both, dog.wrong_only_a, dog.wrong_only_b) == (0, 1, 0)
    assert both.total.truths == 3
    assert [one.changes for one in both.different] == [4]


def test_the_same_twice_differs_nowhere() -> None:
    rng = np.random.default_rng(0)
    images = [random_image(rng, ("car", "dog"), task=i) for i in range(20)]
    one = measure(images, ("car", "dog"))
    both = compare(one, one)
    assert both.different == ()
    assert (both.total.f1.difference, both.total.f1.low, both.total.f1.high) == (0, 0, 0)
    assert both.total.only_a == both.total.only_b == both.total.wrong_only_a == 0
    figures = ComparisonFigures(
        "now", "now", both.total, both.labels, figures_of(one, {}), figures_of(one, {}), 20, ()
    )
    assert "do not tell which one is better" in comparison_summary(figures)[0]
    assert words_of_difference(both.total.f1) == "0.00, 0.00 to 0.00"


def test_who_finds_more_is_better_where_there_are_enough_images() -> None:
    true = truth([("car", BOX)])
    images = [scored_image([("car", BOX, 0.9)], true, ["car"], task=i) for i in range(40)]
    none = [scored_image([], true, ["car"], task=i) for i in range(40)]
    good = measure(images, ["car"])
    half = measure([*images[:20], *none[20:]], ["car"])
    both = compare(half, good)
    assert both.total.f1.low is not None
    assert both.total.f1.low > 0
    assert [one.b.task for one in both.different] == list(range(20, 40))
    figures = ComparisonFigures(
        "a", "b", both.total, both.labels, figures_of(half, {}), figures_of(good, {}), 40, ()
    )
    assert comparison_summary(figures)[0].startswith("B is better: F1 0.67 with A, 1.00 with B")


def test_nothing_to_compare_is_told() -> None:
    one = measure([scored_image([], truth([]), ["car"])], ["car"])
    both = compare(one, one)
    figures = ComparisonFigures(
        "a", "b", both.total, both.labels, figures_of(one, {}), figures_of(one, {}), 1, ()
    )
    assert "nothing to compare" in comparison_summary(figures)[0]
    assert compare(measure([], ["car"]), measure([], ["car"])).images == 0


def test_evaluations_of_other_images_or_labels_are_refused() -> None:
    one = measure([scored_image([], truth([]), ["car"], task=1)], ["car"])
    with pytest.raises(ValueError, match="same images"):
        compare(one, measure([scored_image([], truth([]), ["car"], task=2)], ["car"]))
    with pytest.raises(ValueError, match="same labels"):
        compare(one, measure([scored_image([], truth([]), ["dog"], task=1)], ["dog"]))
