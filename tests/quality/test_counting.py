"""Counts over thresholds are those of what the service would return at each."""

from dataclasses import replace

import numpy as np
import pytest

from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import Label
from grounded_labeler.evaluation.matching import count_labels
from grounded_labeler.evaluation.types import FOUND, MISSED, WRONG
from grounded_labeler.quality.counting import THRESHOLDS, Counted, count_images, count_over
from tests.quality.faked import random_image, scored_image, truth

LABELS = ("car", "dog", "cup", "tree", "hat")


def test_each_threshold_counts_what_the_service_returns_there() -> None:
    rng = np.random.default_rng(0)
    for task in range(20):
        image = random_image(rng, LABELS, task=task)
        expected = [
            count_labels(image.found([float(t)] * len(LABELS)), image.truth, LABELS)
            for t in THRESHOLDS
        ]
        assert np.array_equal(count_over(image, LABELS, THRESHOLDS), expected)


def test_images_are_counted_in_their_order() -> None:
    box = (10.0, 10.0, 60.0, 60.0)
    images = [
        scored_image([("car", box, 0.6)], truth([("car", box)]), ["car"], task=7),
        scored_image([("car", box, 0.4)], truth([]), ["car"], task=3),
        scored_image([], truth([("car", box)]), ["car"], task=5),
    ]
    counted = count_images(images, ["car"], np.array([0.3, 0.5, 0.7]))
    assert counted.tasks == (7, 3, 5)
    assert counted.counts[:, :, 0].tolist() == [
        [[1, 0, 0], [1, 0, 0], [0, 0, 1]],
        [[0, 1, 0], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 1], [0, 0, 1], [0, 0, 1]],
    ]
    assert counted.total.tolist() == [[[1, 1, 1]], [[1, 0, 1]], [[0, 0, 2]]]


def test_no_image_counts_nothing() -> None:
    counted = count_images([], LABELS)
    assert isinstance(counted, Counted)
    assert counted.counts.shape == (0, len(THRESHOLDS), 5, 3)
    assert not counted.total.any()


def test_a_phrase_that_is_left_out_keeps_its_own_threshold() -> None:
    box = (10.0, 10.0, 60.0, 60.0)
    image = scored_image([("car", box, 0.5), ("toy car", box, 0.6)], truth([]), ["car", "toy car"])
    own = (Label("car"), Label("toy car"))
    query = replace(image.query, prompt=parse_prompt("car, -toy car", own))
    image = replace(image, query=query)
    counts = count_over(image, ["car"], np.array([0.2, 0.55]))
    assert not counts.any(), "the toy car takes the car's box out at every threshold"
    high = replace(image, query=replace(query, thresholds=replace(query.thresholds, box=0.9)))
    counts = count_over(high, ["car"], np.array([0.2, 0.55]))
    assert counts[:, 0, WRONG].tolist() == [1, 0]


def test_thresholds_that_do_not_rise_are_refused() -> None:
    image = scored_image([], truth([]), ["car"])
    with pytest.raises(ValueError, match="rise"):
        count_over(image, ["car"], np.array([0.5, 0.3]))


@pytest.mark.slow
def test_two_thousand_images_are_counted() -> None:
    rng = np.random.default_rng(1)
    made = [random_image(rng, LABELS, task=i) for i in range(40)]
    images = (replace(made[i % 40], task=i) for i in range(2000))
    counted = count_images(images, LABELS)
    assert counted.counts.shape == (2000, len(THRESHOLDS), 5, 3)
    truths = sum(len(image.truth) for image in made) * 50
    assert (counted.total[..., FOUND] + counted.total[..., MISSED]).sum(axis=1).tolist() == [
        truths
    ] * len(THRESHOLDS)
