from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounded_labeler.core.tiling import (
    MAX_AUTO_TILES,
    MAX_TILES,
    Tiling,
    parse_tiling,
    tiling_text,
)

SIDES = st.integers(1, 12_000)


def test_an_image_that_the_detector_shrinks_little_has_no_tiles() -> None:
    assert Tiling().tiles((2666, 2000), 1333) == []
    assert Tiling().tiles((2667, 2000), 1333) != []
    assert Tiling(1333).tiles((1333, 1333), 1333) == []


def test_twelve_megapixels_are_twelve_tiles_of_what_the_detector_sees() -> None:
    tiles = Tiling().tiles((4000, 3000), 1333)
    assert len(tiles) == 12
    assert {(x1 - x0, y1 - y0) for x0, y0, x1, y1 in tiles} == {(1333, 1333)}
    assert tiles[0][:2] == (0, 0)
    assert tiles[-1][2:] == (4000, 3000)


def test_a_strip_has_one_row_of_tiles() -> None:
    assert Tiling().tiles((4000, 500), 1000) == [
        (0, 0, 1000, 500), (750, 0, 1750, 500), (1500, 0, 2500, 500), (2250, 0, 3250, 500),
        (3000, 0, 4000, 500),
    ]  # fmt: skip


@given(width=SIDES, height=SIDES, side=st.one_of(st.none(), st.integers(64, 4000)))
def test_tiles_cover_the_image_and_overlap(width: int, height: int, side: int | None) -> None:
    tiles = Tiling(side).tiles((width, height), 1000)
    if not tiles:
        assert max(width, height) <= (2000 if side is None else side)
        return
    assert len(tiles) <= (MAX_AUTO_TILES if side is None else MAX_TILES)
    assert len(set(tiles)) == len(tiles)
    for axis, length in ((0, width), (1, height)):
        spans = sorted({(tile[axis], tile[axis + 2]) for tile in tiles})
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        extents = {end - start for start, end in spans}
        assert len(extents) == 1
        [extent] = extents
        assert extent >= min(length, side or 1000)
        for (_, end), (start, _) in pairwise(spans):
            assert end - start >= 0.2 * extent - 1
    grid = {(tile[0], tile[1]) for tile in tiles}
    assert len(grid) == len({x for x, _ in grid}) * len({y for _, y in grid})


@pytest.mark.parametrize(
    ("text", "tiling"),
    [("off", None), (" AUTO ", Tiling()), ("64", Tiling(64)), ("0800", Tiling(800))],
)
def test_settings_are_read(text: str, tiling: Tiling | None) -> None:
    assert parse_tiling(text) == tiling
    assert parse_tiling(tiling_text(tiling)) == tiling


@pytest.mark.parametrize(
    "text", ["", "on", "63", "-800", "8e2", "1.5", "100001", "٨٠٠", "9" * 5000]
)
def test_other_settings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^off, auto or a number of pixels"):
        parse_tiling(text)
