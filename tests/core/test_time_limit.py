"""How long something may still take, from now on or from its turn on."""

import math
import pickle

import pytest

from grounded_labeler.core.time_limit import NO_LIMIT, TimeLimit


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("from_first_use", "left"), [(False, 3.0), (True, 10.0)])
def test_what_waits_for_its_turn_has_all_of_its_time_then(
    from_first_use: bool, left: float
) -> None:
    clock = Clock()
    limit = TimeLimit(10.0, clock, from_first_use=from_first_use)
    clock.now += 7
    assert limit.left() == left
    clock.now += 12
    assert limit.left() == left - 12


def test_nothing_is_left_once_nobody_waits() -> None:
    over = False
    limit = TimeLimit(math.inf, is_over=lambda: over, from_first_use=True)
    assert limit.left() == math.inf
    over = True
    assert limit.left() == 0
    assert NO_LIMIT.left() == math.inf


@pytest.mark.parametrize("from_first_use", [False, True])
def test_elsewhere_as_much_is_left_as_here(from_first_use: bool) -> None:
    limit = TimeLimit(1e9, from_first_use=from_first_use)
    there: TimeLimit = pickle.loads(pickle.dumps(limit))
    assert 0.9e9 < there.left() <= 1e9
