import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from grounded_labeler.core.boxes import (
    _STEPS_PER_PERCENT,
    box_coverage,
    box_iou,
    clip_boxes,
    from_cxcywh,
    from_percent,
    has_min_side,
    points_from_percent,
    points_to_percent,
    to_percent,
)
from grounded_labeler.core.types import Boxes

SIZE = (200, 100)  # width, height

finite = st.floats(-1e5, 1e5, width=32)
sizes = st.tuples(st.integers(1, 20_000), st.integers(1, 20_000))


def boxes(*rows: tuple[float, float, float, float]) -> Boxes:
    return np.array(rows, np.float32).reshape(-1, 4)


@st.composite
def some_boxes(draw: st.DrawFn, coordinates: st.SearchStrategy[float] = finite) -> Boxes:
    """Any number of boxes, corners in order, anywhere."""
    corners = draw(st.lists(st.tuples(*[coordinates] * 4), max_size=5))
    rows = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    return boxes(*rows)


@pytest.mark.parametrize(
    ("given_boxes", "expected"),
    [
        pytest.param(boxes(), boxes(), id="none"),
        pytest.param(
            boxes((0.5, 0.5, 0.2, 0.4)), boxes((80, 30, 120, 70)), id="in the middle of the image"
        ),
        pytest.param(boxes((0.5, 0.5, 1, 1)), boxes((0, 0, 200, 100)), id="the whole image"),
        pytest.param(boxes((0, 0, 0.2, 0.2)), boxes((-20, -10, 20, 10)), id="over the edge"),
    ],
)
def test_from_cxcywh(given_boxes: Boxes, expected: Boxes) -> None:
    result = from_cxcywh(given_boxes, SIZE)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("given_boxes", "expected"),
    [
        pytest.param(boxes(), boxes(), id="none"),
        pytest.param(boxes((10, 20, 30, 40)), boxes((10, 20, 30, 40)), id="inside"),
        pytest.param(boxes((0, 0, 200, 100)), boxes((0, 0, 200, 100)), id="the whole image"),
        pytest.param(
            boxes((-5, -5, 300, 300)), boxes((0, 0, 200, 100)), id="larger than the image"
        ),
        pytest.param(
            boxes((150, 90, 250, 95)), boxes((150, 90, 200, 95)), id="over the right edge"
        ),
        pytest.param(boxes((300, 5, 400, 9)), boxes((200, 5, 200, 9)), id="outside: a line"),
    ],
)
def test_clip_boxes(given_boxes: Boxes, expected: Boxes) -> None:
    result = clip_boxes(given_boxes, SIZE)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("given_boxes", "expected"),
    [
        pytest.param(boxes(), [], id="none"),
        pytest.param(boxes((3, 4, 4, 5)), [True], id="one pixel"),
        pytest.param(boxes((3, 4, 3.5, 50)), [False], id="half a pixel wide"),
        pytest.param(boxes((3, 4, 50, 4)), [False], id="a line"),
        pytest.param(boxes((9, 9, 5, 5)), [False], id="corners swapped"),
        pytest.param(boxes((0, 0, float("nan"), 9)), [False], id="not a number"),
    ],
)
def test_large_enough(given_boxes: Boxes, expected: list[bool]) -> None:
    result = has_min_side(given_boxes)
    assert result.dtype == np.bool_
    assert result.tolist() == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param(boxes(), boxes(), np.zeros((0, 0)), id="none and none"),
        pytest.param(boxes(), boxes((0, 0, 1, 1)), np.zeros((0, 1)), id="none and one"),
        pytest.param(boxes((0, 0, 1, 1)), boxes(), np.zeros((1, 0)), id="one and none"),
        pytest.param(boxes((1, 2, 3, 4)), boxes((1, 2, 3, 4)), [[1.0]], id="the same"),
        pytest.param(boxes((0, 0, 2, 2)), boxes((2, 0, 4, 2)), [[0.0]], id="side by side"),
        pytest.param(boxes((0, 0, 2, 2)), boxes((1, 1, 3, 3)), [[1 / 7]], id="a corner"),
        pytest.param(boxes((0, 0, 4, 4)), boxes((1, 1, 3, 3)), [[0.25]], id="one in the other"),
        pytest.param(boxes((1, 1, 1, 1)), boxes((1, 1, 1, 1)), [[0.0]], id="points"),
        pytest.param(
            boxes((0, 0, 2, 2), (5, 5, 6, 6)),
            boxes((0, 0, 2, 2), (0, 0, 2, 1), (5, 5, 6, 6)),
            [[1, 0.5, 0], [0, 0, 1]],
            id="two and three",
        ),
    ],
)
def test_box_iou(a: Boxes, b: Boxes, expected: NDArray[np.float64]) -> None:
    result = box_iou(a, b)
    assert result.dtype == np.float32
    assert result.shape == (len(a), len(b))
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("given_boxes", "expected"),
    [
        pytest.param(boxes(), boxes(), id="none"),
        pytest.param(
            boxes((20, 20, 80, 45)), boxes((10, 20, 30, 25)), id="x by width, y by height"
        ),
        pytest.param(boxes((0, 0, 200, 100)), boxes((0, 0, 100, 100)), id="the whole image"),
        pytest.param(boxes((199, 99, 200, 100)), boxes((99.5, 99, 0.5, 1)), id="the last pixel"),
        pytest.param(boxes((-9, -9, 999, 50)), boxes((0, 0, 100, 50)), id="over the edges"),
    ],
)
def test_to_percent(given_boxes: Boxes, expected: Boxes) -> None:
    np.testing.assert_allclose(to_percent(given_boxes, SIZE), expected, atol=1e-9)


def test_rounded_start_and_extent_never_add_up_to_more_than_100() -> None:
    steps = np.arange(100 * _STEPS_PER_PERCENT + 1)
    starts, extents = steps / _STEPS_PER_PERCENT, steps[::-1] / _STEPS_PER_PERCENT
    assert (starts + extents).max() <= 100


@given(some_boxes(), sizes)
def test_percent_of_any_box_stay_in_bounds(given_boxes: Boxes, size_wh: tuple[int, int]) -> None:
    percent = to_percent(given_boxes, size_wh)
    assert percent.shape == (len(given_boxes), 4)
    for x, y, width, height in percent.tolist():
        assert min(x, y, width, height) >= 0
        assert x + width <= 100
        assert y + height <= 100
        assert [round(v, 4) for v in (x, y, width, height)] == [x, y, width, height]


@given(some_boxes(), sizes)
def test_percent_and_back(given_boxes: Boxes, size_wh: tuple[int, int]) -> None:
    inside = clip_boxes(given_boxes, size_wh)
    back = from_percent(to_percent(inside, size_wh), size_wh)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, inside, atol=max(size_wh) * 1e-6, rtol=1e-6)


def test_from_percent_of_none() -> None:
    assert from_percent(np.zeros((0, 4)), SIZE).shape == (0, 4)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        pytest.param(np.zeros((0, 2)), np.zeros((0, 2)), id="none"),
        pytest.param(np.array([[50, 50]]), [[25, 50]], id="x by width, y by height"),
        pytest.param(np.array([[200, 100], [0, 0]]), [[100, 100], [0, 0]], id="corners"),
        pytest.param(np.array([[1 / 3, 1 / 3]]), [[0.1667, 0.3333]], id="rounded"),
        pytest.param(np.array([[-1, 101]]), [[0, 100]], id="outside"),
    ],
)
def test_points_to_percent(points: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(points_to_percent(points, SIZE), expected, atol=1e-9)


def test_points_to_percent_and_back() -> None:
    points = np.array([[0.0, 0.0], [33.3, 66.6], [200.0, 100.0]])
    back = points_from_percent(points_to_percent(points, SIZE), SIZE)
    np.testing.assert_allclose(back, points, atol=0.01)


def test_box_coverage_is_the_part_of_the_first_box_that_lies_in_the_second() -> None:
    small, large, line = (10, 10, 20, 20), (0, 0, 15, 100), (5, 5, 5, 50)
    result = box_coverage(boxes(small, large, line), boxes(small, large))
    assert result.dtype == np.float32
    expected = np.array([[1, 0.5], [50 / 1500, 1], [0, 0]])
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert box_coverage(boxes(), boxes(small)).shape == (0, 1)
    assert box_coverage(boxes(small), boxes()).shape == (1, 0)
