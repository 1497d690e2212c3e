"""The smallest number that is enough."""

from hypothesis import given
from hypothesis import strategies as st

from grounded_labeler.evaluation.search import smallest


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_smallest(enough: int, limit: int) -> None:
    expected = enough if enough <= limit else None
    assert smallest(lambda number: number >= enough, limit=limit) == expected
