"""Splits are exact, the same for the same seed, and tear no group."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounded_labeler.errors import ExportError
from grounded_labeler.exports.split import Split
from tests.exports.making import image_of


@pytest.mark.parametrize(
    ("shares", "count", "expected"),
    [
        ((1.0,), 7, {"train": 7}),
        ((0.8, 0.1, 0.1), 10, {"train": 8, "val": 1, "test": 1}),
        ((0.8, 0.1, 0.1), 1000, {"train": 800, "val": 100, "test": 100}),
        ((0.8, 0.1, 0.1), 5, {"train": 4, "val": 1}),
        ((0.5, 0.5), 3, {"train": 2, "val": 1}),
        ((0.7, 0.3), 1, {"train": 1}),
        ((0.8, 0.2), 0, {}),
        ((0.0, 1.0), 4, {"val": 4}),
    ],
)
def test_splits_are_exact(shares: tuple[float, ...], count: int, expected: dict[str, int]) -> None:
    sides = Split(shares, seed=7).of([image_of(f"{i}.jpg") for i in range(count)])
    assert Counter(sides.values()) == expected


def test_another_seed_makes_another_split() -> None:
    images = [image_of(f"{i}.jpg") for i in range(100)]
    assert Split((0.5, 0.5), 1).of(images) != Split((0.5, 0.5), 2).of(images)


def test_folders_stay_on_one_side() -> None:
    images = [image_of(f"{folder}/{i}.jpg") for folder in range(10) for i in range(5)]
    sides = Split((0.8, 0.2), 7, "folder").of(images)
    assert len({(name.partition("/")[0], side) for name, side in sides.items()}) == 10
    assert Counter(sides.values()) == {"train": 40, "val": 10}


def test_groups_count_unless_they_are_not_wanted() -> None:
    images = [image_of(f"{i}.jpg", group=f"burst {i // 10}") for i in range(100)]

    def torn(split: Split) -> bool:
        sides = split.of(images)
        return len({(image.group, sides[image.name]) for image in images}) > 10

    assert not torn(Split((0.5, 0.5), 7))
    assert not torn(Split((0.5, 0.5), 7, "near-duplicate"))
    assert torn(Split((0.5, 0.5), 7, "none"))


def test_near_duplicates_that_nobody_looked_for_are_no_groups() -> None:
    with pytest.raises(ExportError, match="--group-duplicates"):
        Split((0.5, 0.5), 7, "near-duplicate").of([image_of("a.jpg")])


SHARES = st.sampled_from([(1.0,), (0.8, 0.2), (0.8, 0.1, 0.1), (0.34, 0.33, 0.33), (0.0, 0.5, 0.5)])


@given(st.lists(st.sampled_from(["", "", "", "a", "b", "c"]), max_size=40), SHARES, st.integers())
def test_no_group_is_torn_and_the_order_does_not_matter(
    groups: list[str], shares: tuple[float, ...], seed: int
) -> None:
    images = [image_of(f"{i}.jpg", group=group) for i, group in enumerate(groups)]
    split = Split(shares, seed)
    sides = split.of(images)
    assert len(sides) == len(images)
    assert set(sides.values()) <= set(split.names)
    for group in filter(None, groups):
        assert len({sides[image.name] for image in images if image.group == group}) == 1
    Random(seed).shuffle(images)
    assert split.of(images) == sides
    largest = max((groups.count(group) if group else 1 for group in groups), default=0)
    counts = Counter(sides.values())
    for name, share in zip(split.names, shares, strict=True):
        assert abs(counts[name] - share * len(images)) <= len(shares) * max(largest, 1)
