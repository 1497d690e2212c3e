import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounded_labeler.models.detectors.preprocess import (
    MAX_ASPECT,
    halve,
    long_side,
    max_aspect,
    pad_to_aspect,
    pad_to_patches,
    widened_hw,
)


@pytest.mark.parametrize(
    ("size_hw", "expected_hw"),
    [
        ((1, 1), (1, 1)),
        ((100, 1600), (100, 1600)),
        ((99, 1600), (100, 1600)),
        ((1, 40), (3, 40)),
        ((3000, 1), (3000, 188)),
    ],
)
def test_strips_are_widened(size_hw: tuple[int, int], expected_hw: tuple[int, int]) -> None:
    strip = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    wide = pad_to_aspect(strip)
    assert wide.shape == (*expected_hw, 3)
    assert (wide[: size_hw[0], : size_hw[1]] == strip).all()


def test_what_is_added_to_a_strip_is_the_mean_colour() -> None:
    wide = pad_to_aspect(np.zeros((1, 40, 3), np.uint8))
    assert (wide[1:] == (124, 116, 104)).all()


def test_other_images_come_back_as_they_are() -> None:
    image = np.zeros((30, 400, 3), np.uint8)
    assert pad_to_aspect(image) is image


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_widened_size_is_within_the_aspect_and_as_small_as_that_allows(
    height: int, width: int
) -> None:
    wide_hw = widened_hw((height, width))
    assert wide_hw == pad_to_aspect(np.zeros((height, width, 3), np.uint8)).shape[:2]
    short, long = sorted(wide_hw)
    assert long == max(height, width)
    assert short * MAX_ASPECT >= long
    assert short == min(height, width) or (short - 1) * MAX_ASPECT < long


@pytest.mark.parametrize(
    ("longest", "queries", "cell_side", "expected"),
    [
        pytest.param(1333, 900, 8, MAX_ASPECT, id="as published"),
        pytest.param(480, 900, 8, 4, id="few pixels"),
        pytest.param(480, 900, 4, MAX_ASPECT, id="few pixels, small cells"),
        pytest.param(240, 900, 4, 4, id="fewer pixels, small cells"),
        pytest.param(160, 20, 8, MAX_ASPECT, id="few boxes"),
    ],
)
def test_a_model_that_proposes_many_boxes_of_few_pixels_bears_less_of_a_strip(
    longest: int, queries: int, cell_side: int, expected: float
) -> None:
    assert max_aspect(longest, queries, cell_side) == expected
    wide_hw = widened_hw((1, 1600), expected)
    assert wide_hw == (1600 / expected, 1600)
    assert pad_to_aspect(np.zeros((1, 1600, 3), np.uint8), expected).shape[:2] == wide_hw
    cells = (longest / expected / cell_side) * (longest / cell_side)
    assert cells >= queries


@pytest.mark.parametrize("size_hw", [(6, 8), (7, 9), (2, 2), (3, 200)])
def test_a_half_has_half_the_pixels_and_the_same_mean(size_hw: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).normal(0, 1, (3, *size_hw)).astype(np.float32)
    half = halve(pixels)
    assert half.shape == (3, size_hw[0] // 2, size_hw[1] // 2)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half.mean(axis=(1, 2)), pixels.mean(axis=(1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("size_hw", "expected_hw"), [((8, 12), (8, 12)), ((9, 11), (12, 12)), ((1, 1), (4, 4))]
)
def test_patches_are_filled_up_at_the_right_and_bottom(
    size_hw: tuple[int, int], expected_hw: tuple[int, int]
) -> None:
    pixels = np.ones((2, 3, *size_hw), np.float32)
    padded = pad_to_patches(pixels)
    assert padded.shape == (2, 3, *expected_hw)
    assert padded.dtype == np.float32
    assert (padded[:, :, : size_hw[0], : size_hw[1]] == 1).all()
    assert padded.sum() == pixels.sum()


@pytest.mark.parametrize(("short", "long"), [(800, 1333), (160, 266), (480, 799), (1, 1)])
def test_the_long_side_keeps_the_published_models_ratio(short: int, long: int) -> None:
    assert long_side(short) == long
