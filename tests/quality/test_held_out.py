"""A floor holds on other images, a gain is told from noise, and every fold has its share."""

import numpy as np
import pytest

from grounded_labeler.evaluation.curve import F1, PrecisionAtLeast, RecallAtLeast
from grounded_labeler.evaluation.types import FOUND, MISSED, WRONG
from grounded_labeler.quality.held_out import at, choose_index, deal, gain, held_out, worth
from tests.evaluation.simulated import THRESHOLDS, Label, f1_of


def test_every_fold_gets_its_share_of_the_images_of_every_label() -> None:
    rng = np.random.default_rng(3)
    has_label = np.zeros((60, 3), np.bool_)
    has_label[:, 0] = True
    has_label[:10, 1] = True
    has_label[5:10, 2] = True
    fold_of = deal(has_label, 5, rng)
    assert np.bincount(fold_of).tolist() == [12] * 5
    assert np.bincount(fold_of[:10], minlength=5).tolist() == [2] * 5
    assert np.bincount(fold_of[5:10], minlength=5).tolist() == [1] * 5


@pytest.mark.parametrize("images", [0, 1, 3])
def test_few_images_make_few_folds(images: int) -> None:
    fold_of = deal(np.ones((images, 1), np.bool_), 5, np.random.default_rng(0))
    assert sorted(fold_of.tolist()) == list(range(images))
    assert deal(np.zeros((2, 0), np.bool_), 5, np.random.default_rng(0)).tolist() in (
        [0, 1],
        [1, 0],
    )


@pytest.mark.parametrize(
    ("goal", "column"), [(PrecisionAtLeast(0.9), WRONG), (RecallAtLeast(0.8), MISSED)]
)
def test_a_floor_holds_on_other_images(goal: PrecisionAtLeast | RecallAtLeast, column: int) -> None:
    rng = np.random.default_rng(2)
    fresh, stated, naive = np.zeros(3), np.zeros(3), np.zeros(3)
    for _ in range(150):
        label = Label.by_chance(rng)
        counts = label.counts(60, rng)
        index = choose_index(counts, THRESHOLDS, goal)
        if index < 0:
            continue
        true = label.expected()[index]
        fresh += true / (true[FOUND] + true[column])  # each project counts the same
        fold_of = deal(np.ones((60, 1), np.bool_), 5, rng)
        total = held_out(counts, THRESHOLDS, goal, fold_of).sum(axis=0)
        stated += total / max(1, total[FOUND] + total[column])
        naive += 1
    rate = fresh[FOUND] / naive[0]
    assert naive[0] > 40
    assert rate >= goal.floor - 0.005, (rate, stated[FOUND] / naive[0])
    assert stated[FOUND] / naive[0] == pytest.approx(rate, abs=0.03)


def test_a_floor_that_is_out_of_reach_is_not_claimed() -> None:
    counts = np.zeros((20, 3, 3), np.int64)
    counts[..., WRONG] = 1
    counts[:, :, FOUND] = 1
    thresholds = np.array([0.1, 0.2, 0.3])
    assert choose_index(counts, thresholds, PrecisionAtLeast(0.9)) == -1
    assert choose_index(counts, thresholds, RecallAtLeast(0.9)) == 1
    assert choose_index(counts[:0], thresholds, F1()) == -1


def test_without_a_threshold_all_is_missed() -> None:
    counts = np.array([[[2, 1, 3]]], np.int64)
    assert at(counts, -1).tolist() == [[0, 0, 5]]
    assert at(counts, 0).tolist() == [[2, 1, 3]]


def test_a_gain_is_told_from_noise() -> None:
    rng = np.random.default_rng(0)
    found = rng.binomial(3, 0.7, 80)
    before = np.stack([found, np.ones(80, np.int64), 3 - found], axis=1)
    same = gain(before, before, F1())
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    assert not same.is_sure
    better = before.copy()
    better[:, WRONG] = 0
    assert gain(before, better, F1()).is_sure
    noisy = before[rng.permutation(80)]
    assert not gain(before, noisy, F1(), confidence=0.99).is_sure
    both = gain(np.stack([before, before], axis=1), np.stack([better, before], axis=1), F1())
    assert 0 < both.difference < gain(before, better, F1()).difference


def test_the_held_out_f1_is_honest() -> None:
    rng = np.random.default_rng(4)
    errors = []
    for _ in range(100):
        label = Label.by_chance(rng)
        counts = label.counts(40, rng)
        fold_of = deal(counts[:, 0, (FOUND, MISSED)].sum(axis=1)[:, None] > 0, 5, rng)
        stated = worth(held_out(counts, THRESHOLDS, F1(), fold_of).sum(axis=0), F1())
        errors.append(stated - f1_of(label.expected())[choose_index(counts, THRESHOLDS, F1())])
    assert abs(np.mean(errors)) < 2.5 * np.std(errors) / 10
