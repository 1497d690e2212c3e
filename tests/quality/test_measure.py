"""Images are judged by what the service returns, and COCO's metrics are of all that scores."""

import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from grounded_labeler.coco import coco_rle
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Candidates
from grounded_labeler.quality.candidates import ScoredImage
from grounded_labeler.quality.figures import figures_of
from grounded_labeler.quality.measure import areas, measure, truth_of
from grounded_labeler.quality.report.page import About, render_evaluation
from tests.quality.faked import random_image, scored_image, truth

LEFT, RIGHT, BOTTOM = (
    (10.0, 10.0, 60.0, 60.0),
    (200.0, 10.0, 300.0, 60.0),
    (10.0, 200.0, 60.0, 300.0),
)


def test_what_is_right_wrong_and_missed_is_told_by_image() -> None:
    images = [
        scored_image(
            [("car", LEFT, 0.9), ("car", RIGHT, 0.8)],
            truth([("car", LEFT), ("dog", BOTTOM)]),
            ["car", "dog"],
            task=1,
        ),
        scored_image([("dog", LEFT, 0.7)], truth([("dog", LEFT)]), ["car", "dog"], task=2),
    ]
    measured = measure(images, ["car", "dog"])
    assert [(one.missed, one.wrong) for one in measured.images] == [(1, 1), (0, 0)]
    assert [one.task for one in measured.worst] == [1]
    assert measured.held.sum(axis=0).tolist() == [[1, 1, 0], [1, 0, 1]]
    assert measured.thresholds == {"car": (0.3,), "dog": (0.3,)}


def test_a_label_that_was_renamed_in_the_truth_is_one_cell_of_the_table() -> None:
    images = [scored_image([("car", LEFT, 0.9)], truth([("dog", LEFT)]), ["car", "dog"])]
    measured = measure(images, ["car", "dog"])
    assert measured.confusion.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_objects_of_labels_that_were_not_asked_for_are_named_and_not_missed() -> None:
    images = [scored_image([], truth([("tree", LEFT), ("car", RIGHT), ("tree", BOTTOM)]), ["car"])]
    measured = measure(images, ["car"])
    assert measured.not_asked == {"tree": 2}
    assert measured.images[0].missed == 1
    assert measured.images[0].truth.labels == ("car",)


def test_average_precision_counts_what_scores_below_the_thresholds_that_hold() -> None:
    images = [scored_image([("car", LEFT, 0.2)], truth([("car", LEFT)]), ["car"])]
    measured = measure(images, ["car"])
    assert measured.held.tolist() == [[[0, 0, 1]]]
    assert measured.boxes.ap == pytest.approx(1)


def test_the_curve_passes_through_the_counts_that_hold() -> None:
    rng = np.random.default_rng(3)
    labels = ("car", "dog")
    images = [random_image(rng, labels, task=i) for i in range(10)]
    measured = measure(images, labels)
    place = int(np.flatnonzero(measured.counted.thresholds == 0.3)[0])
    assert np.array_equal(measured.counted.counts[:, place], measured.held)


def test_without_any_image_or_truth_nothing_is_defined() -> None:
    measured = measure([], ["car"])
    assert measured.boxes.ap is None
    assert measured.worst == []
    measured = measure([scored_image([], truth([]), ["car"])], ["car"])
    assert measured.boxes.ap is None
    assert not measured.held.any()


def test_objects_are_told_with_their_areas_without_crowds() -> None:
    one = truth([("car", LEFT), ("car", RIGHT), ("car", BOTTOM)])
    one = replace(one, is_crowd=np.array([False, False, True]))
    measured = measure([scored_image([("car", LEFT, 0.9)], one, ["car"])], ["car"])
    assert list(measured.objects) == [(2500, True), (5000, False)]


def test_the_area_is_that_of_the_mask_where_there_is_one() -> None:
    pixels = np.zeros((480, 640), np.bool_)
    pixels[20:30, 20:25] = True
    mask = coco_rle(Mask.from_full(pixels))
    one = replace(truth([("a", LEFT), ("b", LEFT)]), masks=(None, mask))
    assert areas(one) == [2500, 50]
    assert truth_of(one, ["b"]).masks == (mask,)


@pytest.mark.slow
def test_two_thousand_images_are_measured_while_few_candidates_are_in_memory() -> None:
    rng = np.random.default_rng(1)
    labels = ("car", "dog", "cup", "tree", "hat")
    alive: list[weakref.ref[Candidates]] = []
    most = 0

    def images() -> Iterator[ScoredImage]:
        nonlocal most
        for task in range(2000):
            image = random_image(rng, labels, task=task, candidates=40)
            alive.append(weakref.ref(image.candidates))
            most = max(most, sum(one() is not None for one in alive[-20:]))
            yield image

    measured = measure(images(), labels)
    assert most <= 2, "candidates of an image are let go before the next one is read"
    assert measured.counted.counts.shape[0] == len(measured.images) == 2000
    figures = figures_of(measured, {})
    assert figures.total.truths == sum(len(image.truth) for image in measured.images)
    about = About("a project", "the labels", "box threshold 0.3", "demo", "v1", 0.05)
    pixels = np.full((480, 640, 3), 90, np.uint8)
    assert len(render_evaluation(about, measured, figures, lambda *_: pixels)) < 5_000_000
