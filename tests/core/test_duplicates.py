import numpy as np
import pytest
from numpy.typing import NDArray

from grounded_labeler.core import duplicates
from grounded_labeler.core.duplicates import group_duplicates


def on_a_circle(*degrees: float) -> NDArray[np.float32]:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        ([], []),
        ([10], [0]),
        ([0, 90, 5, 95, 200], [0, 1, 0, 1, 4]),
        ([0, 20, 40, 60, 80, 100], [0] * 6),  # a chain, whose ends are unlike
        ([100, 40, 80, 60, 20, 0], [0] * 6),
        ([0, 0, 0], [0, 0, 0]),
    ],
)
def test_groups(degrees: list[float], expected: list[int]) -> None:
    threshold = float(np.cos(np.radians(21)))
    assert group_duplicates(on_a_circle(*degrees), threshold).tolist() == expected


@pytest.mark.parametrize("block", [1, 3, 7, 1000])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    vectors = on_a_circle(*rng.uniform(0, 360, 60))
    expected = group_duplicates(vectors, 0.999).tolist()
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    assert group_duplicates(vectors, 0.999).tolist() == expected
    assert len(set(expected)) > 5


def test_rows_of_zeros_are_like_nothing() -> None:
    assert group_duplicates(np.zeros((3, 4), np.float16), 0.5).tolist() == [0, 1, 2]
