import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grounded_labeler.core.tiling import Tiling
from grounded_labeler.core.views import are_cut, are_whole_elsewhere

SIZE_WH = (1000, 800)


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_what_lies_at_an_inner_edge_is_cut_and_at_the_images_own_edge_is_not() -> None:
    view = (0, 200, 400, 600)  # an edge is 8 pixels wide
    seen = boxes(
        (0, 300, 50, 400), (100, 207, 150, 300), (100, 209, 150, 300), (300, 300, 393, 350)
    )
    assert are_cut(seen, view, SIZE_WH).tolist() == [False, True, False, True]
    assert are_cut(boxes(), view, SIZE_WH).tolist() == []


def test_a_part_gives_way_where_another_tile_shows_all_of_it() -> None:
    tiles = [(0, 0, 400, 800), (300, 0, 700, 800), (600, 0, 1000, 800)]
    seen = boxes((350, 10, 399, 60), (250, 10, 399, 60), (100, 10, 150, 60))
    # The second one begins left of the next tile: no tile shows all of it.
    assert are_whole_elsewhere(seen, 0, tiles, SIZE_WH).tolist() == [True, False, False]


@given(
    width=st.integers(300, 3000),
    height=st.integers(300, 3000),
    side=st.integers(128, 700),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    share=st.tuples(st.floats(0.02, 0.15), st.floats(0.02, 0.15)),
)
def test_what_is_smaller_than_the_overlap_is_whole_in_a_tile(
    width: int, height: int, side: int, place: tuple[float, float], share: tuple[float, float]
) -> None:
    tiles = Tiling(side).tiles((width, height), 1333) or [(0, 0, width, height)]
    w, h = (max(2.0, part * side - 2) for part in share)
    x, y = place[0] * (width - w), place[1] * (height - h)
    box = boxes((x, y, x + w, y + h))
    whole = [
        not are_cut(box, tile, (width, height))[0]
        for tile in tiles
        if tile[0] <= x and tile[1] <= y and x + w <= tile[2] and y + h <= tile[3]
    ]
    assert any(whole)
