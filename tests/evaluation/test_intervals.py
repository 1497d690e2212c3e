"""Intervals of counted proportions: those of scipy, and how often they hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from grounded_labeler.evaluation.intervals import (
    Interval,
    f1,
    f1_interval,
    lower_bound,
    more_to_halve,
    precision,
    recall,
    wilson,
)

counts = st.integers(0, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
confidences = st.sampled_from([0.8, 0.95, 0.99])


@given(counts, confidences)
def test_wilson_is_that_of_scipy(of: tuple[int, int], confidence: float) -> None:
    ours = wilson(*of, confidence)
    if not of[1]:
        assert ours == Interval(0, 1)
        return
    theirs = stats.binomtest(*of).proportion_ci(confidence, "wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert of[0] / of[1] in ours


def test_wilson_of_arrays_is_that_of_each() -> None:
    successes, total = np.array([[0, 3], [5, 0]]), np.array([[4, 9], [5, 0]])
    many = wilson(successes, total)
    for place in np.ndindex(2, 2):
        one = wilson(int(successes[place]), int(total[place]))
        np.testing.assert_array_equal([many.low[place], many.high[place]], [one.low, one.high])


@given(counts, confidences)
def test_lower_bound_is_that_of_scipy(of: tuple[int, int], confidence: float) -> None:
    if not of[1]:
        assert lower_bound(*of, confidence) == 0
        return
    theirs = stats.binomtest(*of, alternative="greater").proportion_ci(confidence, "exact")
    assert lower_bound(*of, confidence) == pytest.approx(theirs.low, abs=1e-9)


def test_lower_bound_of_an_effective_sample_lies_between_those_of_whole_ones() -> None:
    assert lower_bound(58, 58) < lower_bound(58.5, 58.5) < lower_bound(59, 59)
    assert lower_bound(59, 59) >= 0.95 > lower_bound(58, 58)  # the rule of three


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.97])
def test_lower_bound_lies_above_the_rate_in_at_most_one_sample_of_twenty(rate: float) -> None:
    right = np.arange(201)
    bounds = np.array([lower_bound(int(k), 200) for k in right])
    assert stats.binom.pmf(right, 200, rate)[bounds > rate].sum() <= 0.05


def test_what_is_not_counted_is_not_zero() -> None:
    assert precision(0, 0) is recall(0, 0) is f1(0, 0, 0) is None
    assert (precision(0, 2), recall(0, 2), f1(0, 1, 1)) == (0, 0, 0)
    assert (precision(3, 1), recall(3, 3), f1(3, 1, 3)) == (0.75, 0.5, 0.6)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_f1_lies_in_its_interval(found: int, wrong: int, missed: int) -> None:
    interval = f1_interval(found, wrong, missed)
    assert 0 <= interval.low <= interval.high <= 1
    value = f1(found, wrong, missed)
    if value is None:
        assert interval == Interval(0, 1)
    else:
        assert interval.low - 1e-12 <= value <= interval.high + 1e-12


def test_f1_intervals_hold_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(0)
    parts = np.array([0.6, 0.25, 0.15])
    true = 2 * parts[0] / (2 * parts[0] + parts[1] + parts[2])
    held = [true in f1_interval(*row) for row in rng.multinomial(80, parts, 2000).tolist()]
    assert 0.93 <= np.mean(held) <= 0.98


@pytest.mark.parametrize(("successes", "total"), [(0, 0), (9, 12), (12, 12), (0, 3), (450, 500)])
def test_more_to_halve_is_the_smallest_number_that_halves(successes: int, total: int) -> None:
    more = more_to_halve(successes, total)
    rate = successes / total if total else 0.5
    half = wilson(successes, total).width / 2
    assert wilson(rate * (total + more), total + more).width <= half
    before = total + more - 1
    assert wilson(rate * before, before).width > half


@pytest.mark.parametrize("successes", [-1, 3])
def test_impossible_counts_are_refused(successes: int) -> None:
    with pytest.raises(ValueError, match="between 0 and total"):
        wilson(successes, 2)
    with pytest.raises(ValueError, match="between 0 and total"):
        lower_bound(successes, 2)
