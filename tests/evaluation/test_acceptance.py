"""Thresholds with a promise: how often simulated projects break it, and how often they get one."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from grounded_labeler.core.types import Scores
from grounded_labeler.evaluation.acceptance import Acceptance, acceptance_threshold

Sample = tuple[Scores, NDArray[np.bool_], NDArray[np.intp]]
GRID = (np.arange(4000) + 0.5) / 4000


@dataclass(frozen=True)
class Label:
    """A label whose scores are drawn from a Beta distribution, right as often as `calibration`.

    `calibration` is of each score in GRID. In an image, `together` of the predictions are right
    or wrong by the same luck. An image has 1 + a geometric number of predictions.
    """

    scores: tuple[float, float]
    calibration: NDArray[np.float64]
    together: float
    more_per_image: float

    @classmethod
    def by_chance(cls, rng: np.random.Generator, promised: float, together: float) -> "Label":
        kind = rng.integers(3)
        if kind == 0:  # nothing to find: just below what is promised, whatever the score
            calibration = np.full(len(GRID), promised - 0.001)
        elif kind == 1:
            top = rng.uniform(0.95, 1)
            calibration = top * special.expit(rng.uniform(4, 20) * (GRID - rng.uniform(0.1, 0.6)))
        else:
            calibration = np.where(rng.uniform(0.3, 0.8) < GRID, 0.999, promised - 0.05)
        scores = (rng.uniform(1, 6), rng.uniform(1, 3))
        return cls(scores, calibration, together, rng.choice([0.0, 0.5, 2, 5]))

    def reviewed(self, images: int, rng: np.random.Generator) -> Sample:
        sizes = rng.geometric(1 / (1 + self.more_per_image), images)
        groups = np.repeat(np.arange(images), sizes)
        scores = rng.beta(*self.scores, len(groups)).astype(np.float32)
        luck = np.where(
            rng.random(len(groups)) < self.together,
            rng.random(images)[groups],
            rng.random(len(groups)),
        )
        place = np.minimum((scores * len(GRID)).astype(np.intp), len(GRID) - 1)
        return scores, luck < self.calibration[place], groups

    def precision_from(self, threshold: float) -> float:
        weights = stats.beta.pdf(GRID, *self.scores) * (threshold <= GRID)
        return float((weights * self.calibration).sum() / weights.sum())


def naive_threshold(sample: Sample, precision: float, confidence: float) -> float | None:
    """The lowest score at which a bound for that score alone reaches the promise."""
    scores, right, _ = sample
    order = np.argsort(-scores)
    total = np.arange(1, len(scores) + 1)
    found = right[order].cumsum()
    bounds = special.betaincinv(np.maximum(found, 1e-9), total - found + 1, 1 - confidence)
    passing = np.flatnonzero(bounds >= precision)
    return float(scores[order][passing[-1]]) if len(passing) else None


@pytest.mark.slow
def test_the_promise_is_broken_in_at_most_5_of_100_projects_and_naively_in_more() -> None:
    rng = np.random.default_rng(0)
    projects, broken, naively_broken, accepting = 500, 0, 0, 0
    for project in range(projects):
        promised, count = float(rng.uniform(0.9, 0.97)), int(rng.integers(1, 5))
        confidence = 1 - 0.05 / count
        is_broken = is_naively_broken = False
        for _ in range(count):
            label = Label.by_chance(rng, promised, 0.8 if project % 2 else 0.0)
            sample = label.reviewed(int(rng.integers(60, 500)), rng)
            accepted = acceptance_threshold(*sample, precision=promised, confidence=confidence)
            if accepted.threshold is not None:
                accepting += 1
                is_broken |= label.precision_from(accepted.threshold) < promised
            naive = naive_threshold(sample, promised, confidence)
            if naive is not None:
                is_naively_broken |= label.precision_from(naive) < promised
        broken += is_broken
        naively_broken += is_naively_broken
    assert broken <= 0.05 * projects
    assert naively_broken > 0.1 * projects
    assert accepting > 0.5 * projects  # a promise that is never made is not worth much


@pytest.mark.slow
@pytest.mark.parametrize(("more_per_image", "together"), [(0, 0), (2, 0), (2, 1), (5, 1)])
def test_a_label_just_below_the_promise_is_hardly_ever_accepted(
    more_per_image: float, together: float
) -> None:
    rng = np.random.default_rng(1)
    label = Label((2, 2), np.full(len(GRID), 0.949), together, more_per_image)
    accepted = [
        acceptance_threshold(*label.reviewed(300, rng), precision=0.95).threshold is not None
        for _ in range(400)
    ]
    # Two standard deviations of 400 draws over the 0.05 of the worst case.
    assert np.mean(accepted) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize(("more_per_image", "together"), [(0, 0), (1, 0.5)])
def test_a_well_separated_label_is_mostly_accepted_after_400_reviews(
    more_per_image: float, together: float
) -> None:
    rng = np.random.default_rng(2)
    calibration = 0.998 * special.expit(25 * (GRID - 0.4))
    label = Label((4, 2), calibration, together, more_per_image)
    results = [
        acceptance_threshold(
            *label.reviewed(round(400 / (1 + more_per_image)), rng), precision=0.95
        )
        for _ in range(100)
    ]
    assert np.mean([result.threshold is not None for result in results]) >= 0.8
    # All scores from about 0.47 on, 83 % of them, could be accepted by who knew the truth.
    assert np.median([result.accepted for result in results]) >= 0.6 * 400


def sample(count: int, wrong: tuple[int, ...] = (), per_image: int = 1) -> Sample:
    """Predictions with falling scores, those at the places `wrong` wrong."""
    scores = np.linspace(0.9, 0.3, count, dtype=np.float32)
    right = ~np.isin(np.arange(count), wrong)
    return scores, right, np.arange(count) // per_image


def test_what_is_accepted_is_what_is_at_the_threshold_or_above_it() -> None:
    scores, right, groups = sample(300, wrong=(10, 150, *range(200, 300, 2)))
    order = np.random.default_rng(0).permutation(300)
    result = acceptance_threshold(scores[order], right[order], groups[order], precision=0.95)
    assert result.threshold is not None
    above = scores >= result.threshold
    assert (result.accepted, result.right) == (above.sum(), right[above].sum())
    assert result.bound is not None
    assert 0.95 <= result.bound <= result.right / result.accepted
    assert 180 <= result.accepted <= 240
    assert result.needed == 0


def test_a_threshold_takes_all_predictions_of_its_score() -> None:
    scores, right, groups = sample(400)
    scores[90:380] = scores[90]
    right[100:200] = False
    result = acceptance_threshold(scores, right, groups, precision=0.95)
    assert result.threshold is None
    right[:] = True
    assert acceptance_threshold(scores, right, groups, precision=0.95).accepted == 400


def test_the_search_ends_at_the_first_threshold_that_fails() -> None:
    many_wrong_at_the_top = sample(5000, wrong=tuple(range(0, 150, 5)))
    assert np.mean(many_wrong_at_the_top[1]) > 0.99
    assert acceptance_threshold(*many_wrong_at_the_top, precision=0.95).threshold is None


@pytest.mark.parametrize("per_image", [1, 5])
def test_a_few_images_prove_no_more_than_their_number(per_image: int) -> None:
    for images, is_enough in ((58, False), (60, True)):
        result = acceptance_threshold(
            *sample(images * per_image, per_image=per_image), precision=0.95
        )
        assert (result.threshold is not None) == is_enough


@pytest.mark.parametrize(
    ("reviewed", "needed"),
    [
        pytest.param(sample(0), 59, id="none yet: as if all were right"),
        pytest.param(sample(1), 58, id="one"),
        pytest.param(sample(40), 19, id="all right"),
        pytest.param(sample(40, wrong=tuple(range(0, 40, 2))), None, id="half of them wrong"),
        pytest.param(sample(3, wrong=(0, 1, 2)), None, id="all wrong"),
    ],
)
def test_how_many_more_reviews_are_needed(reviewed: Sample, needed: int | None) -> None:
    result = acceptance_threshold(*reviewed, precision=0.95)
    assert result == Acceptance(None, 0, 0, None, needed)


def test_as_many_reviews_as_needed_are_mostly_enough() -> None:
    rng = np.random.default_rng(3)
    label = Label((4, 2), 0.998 * special.expit(25 * (GRID - 0.4)), 0, 0)
    enough = []
    for _ in range(60):
        first = label.reviewed(50, rng)
        needed = acceptance_threshold(*first, precision=0.95).needed
        if needed is not None:
            more = label.reviewed(needed, rng)
            scores, right = (np.concatenate(pair) for pair in zip(first[:2], more[:2], strict=True))
            both = acceptance_threshold(scores, right, np.arange(len(scores)), precision=0.95)
            enough.append(both.threshold is not None)
    assert len(enough) >= 50
    assert np.mean(enough) >= 0.4


@pytest.mark.parametrize("promise", [0.0, 1.0, 97.0])
def test_what_cannot_be_promised_is_refused(promise: float) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        acceptance_threshold(*sample(10), precision=promise)
    with pytest.raises(ValueError, match="the same length"):
        acceptance_threshold(sample(10)[0], *sample(9)[1:], precision=0.9)
