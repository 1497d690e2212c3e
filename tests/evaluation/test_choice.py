"""Choosing thresholds: planted ones are in their intervals, and the figures are honest."""

import numpy as np
import pytest

from grounded_labeler.evaluation.choice import ThresholdChoice, choose_threshold
from grounded_labeler.evaluation.curve import F1, PrecisionAtLeast
from tests.evaluation.simulated import THRESHOLDS, Label, f1_of

Problem = tuple[Label, ThresholdChoice]


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    """Two hundred labels of any kind, each in forty images."""
    rng = np.random.default_rng(1)
    labels = [Label.by_chance(rng) for _ in range(200)]
    return [
        (label, choose_threshold(label.counts(40, rng), THRESHOLDS, F1(), rng=rng))
        for label in labels
    ]


def test_planted_best_thresholds_are_in_the_interval(problems: list[Problem]) -> None:
    inside = [
        choice.interval is not None
        and THRESHOLDS[f1_of(label.expected()).argmax()] in choice.interval
        for label, choice in problems
    ]
    assert np.mean(inside) >= 0.9


def test_the_held_out_f1_is_honest_and_that_of_the_same_images_is_not(
    problems: list[Problem],
) -> None:
    held_out, in_sample = [], []
    for label, choice in problems:
        true = f1_of(label.expected())[choice.threshold == THRESHOLDS].item()
        assert choice.held_out is not None
        held_out.append(f1_of(choice.held_out).item() - true)
        in_sample.append(f1_of(choice.counts).item() - true)
    noise = np.std(held_out) / np.sqrt(len(held_out))
    assert abs(np.mean(held_out)) < 2.5 * noise
    assert np.mean(in_sample) > 5 * np.std(in_sample) / np.sqrt(len(in_sample))


def test_the_held_out_precision_shows_that_a_floor_is_often_missed() -> None:
    rng = np.random.default_rng(2)
    goal = PrecisionAtLeast(0.9)
    label = Label((5, 2), (2, 4), 1.0, 1.0)
    choices = [
        choose_threshold(label.counts(30, rng), THRESHOLDS, goal, rng=rng) for _ in range(50)
    ]
    in_sample = np.sum([choice.counts for choice in choices], axis=0)
    held_out = np.sum([c.held_out for c in choices if c.held_out is not None], axis=0)
    expected = [label.expected()[choice.threshold == THRESHOLDS] for choice in choices]
    true = np.concatenate(expected).sum(axis=0)
    precision = [counts[0] / (counts[0] + counts[1]) for counts in (in_sample, held_out, true)]
    assert precision[0] >= 0.9 > precision[2]
    assert precision[1] == pytest.approx(precision[2], abs=0.02)


def test_images_are_dealt_so_that_each_fold_has_the_label() -> None:
    rng = np.random.default_rng(0)
    counts = np.zeros((100, 2, 3), np.int64)
    counts[:4] = [[1, 0, 0], [1, 0, 0]]
    counts[4:, 0] = [0, 1, 0]
    choice = choose_threshold(counts, np.array([0.2, 0.8]), F1(), rng=rng)
    assert (choice.threshold, choice.folds) == (0.8, 4)
    assert choice.held_out is not None
    assert choice.held_out.tolist() == choice.counts.tolist() == [4, 0, 0]
    assert choice.interval is not None


def test_one_image_with_the_label_holds_nothing_out() -> None:
    counts = np.zeros((3, 2, 3), np.int64)
    counts[0] = [[1, 0, 1], [1, 0, 1]]
    choice = choose_threshold(counts, np.array([0.2, 0.8]), F1(), rng=np.random.default_rng(0))
    assert choice.held_out is None
    assert choice.threshold == 0.2


@pytest.mark.parametrize("images", [0, 5])
def test_without_a_threshold_all_objects_are_missed(images: int) -> None:
    counts = np.tile(np.array([1, 9, 1]), (images, 2, 1))
    choice = choose_threshold(
        counts, np.array([0.2, 0.8]), PrecisionAtLeast(0.9), rng=np.random.default_rng(0)
    )
    assert (choice.threshold, choice.interval) == (None, None)
    assert choice.counts.tolist() == [0, 0, 2 * images]
    assert (choice.held_out is None) == (images == 0)


def test_the_same_seed_gives_the_same_choice() -> None:
    counts = Label((5, 2), (2, 4), 1.0, 1.0).counts(30, np.random.default_rng(0))
    first, second = (
        choose_threshold(counts, THRESHOLDS, F1(), rng=np.random.default_rng(7)) for _ in range(2)
    )
    assert first.interval == second.interval
    np.testing.assert_array_equal(first.held_out, second.held_out)


def test_what_does_not_fit_is_refused() -> None:
    counts = np.zeros((2, 3, 3), np.int64)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"must be \(I, 2, 3\)"):
        choose_threshold(counts, np.array([0.2, 0.8]), F1(), rng=rng)
    with pytest.raises(ValueError, match="2 or more"):
        choose_threshold(counts, np.array([0.2, 0.5, 0.8]), F1(), folds=1, rng=rng)
