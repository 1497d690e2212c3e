"""What is written is, byte for byte, what Label Studio's own SDK writes."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from label_studio_sdk.converter.brush import decode_rle as decode_by_the_sdk
from label_studio_sdk.converter.brush import encode_rle as encode_by_the_sdk
from label_studio_sdk.converter.brush import mask2rle
from numpy.typing import NDArray

from grounded_labeler.core.masks import Mask
from grounded_labeler.label_studio.brush_rle import decode_rle, encode_rle

Pixels = NDArray[np.bool_]  # (H, W)


def by_the_sdk(pixels: Pixels) -> list[int]:
    answer: list[int] = mask2rle(pixels.astype(np.uint8) * 255)
    return answer


def ring() -> Pixels:
    y, x = np.mgrid[:64, :64] - 31.5
    return np.asarray(abs(np.hypot(x, y) - 20) <= 10)


def ragged(size_hw: tuple[int, int]) -> Pixels:
    """A disc in the middle whose edge is frayed by noise."""
    height, width = size_hw
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(size=size_hw), (0, 0), 2)
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((x - width / 2) / width, (y - height / 2) / height) * 2
    return np.asarray(noise / noise.std() + 8 * (0.7 - radius) > 0)


def first_pixels(count: int, size_hw: tuple[int, int]) -> Pixels:
    """The first `count` pixels of the image, row by row."""
    height, width = size_hw
    return np.arange(height * width).reshape(size_hw) < count


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """Any crop at any place of an image up to 40 x 40."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    top, left = draw(st.integers(0, height)), draw(st.integers(0, width))
    shape = (draw(st.integers(0, height - top)), draw(st.integers(0, width - left)))
    return Mask(draw(arrays.arrays(np.bool_, shape)), left, top, (height, width))


@settings(max_examples=500)
@given(masks())
def test_any_crop_is_written_as_by_the_sdk(mask: Mask) -> None:
    assert encode_rle(mask) == by_the_sdk(mask.full())


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_any_pixels_are_written_as_by_the_sdk_and_read_back(pixels: Pixels) -> None:
    rle = encode_rle(Mask.from_full(pixels))
    assert rle == by_the_sdk(pixels)
    np.testing.assert_array_equal(decode_rle(rle, (pixels.shape[0], pixels.shape[1])), pixels)


# A run is written in another way after 2, 4, 64 and 16,384 pixels of four values.
@pytest.mark.parametrize("run", [1, 2, 3, 4, 5, 63, 64, 65, 16_383, 16_384, 16_385, 32_768, 32_769])
@pytest.mark.parametrize("size_hw", [(200, 200), (1, 40_000), (40_000, 1)])
def test_runs_of_every_kind_are_written_as_by_the_sdk(run: int, size_hw: tuple[int, int]) -> None:
    pixels = first_pixels(run, size_hw)
    for each in (pixels, ~pixels, pixels[::-1, ::-1], np.roll(pixels, 7)):
        assert encode_rle(Mask.from_full(each)) == by_the_sdk(each)


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.ones((1, 1), np.bool_), id="the only pixel"),
        pytest.param(np.zeros((3000, 4000), np.bool_), id="nothing of 12 megapixels"),
        pytest.param(np.ones((3000, 4000), np.bool_), id="all of 12 megapixels"),
        pytest.param(ragged((600, 800)), id="ragged"),
        pytest.param(np.indices((300, 301)).sum(0) % 2 > 0, id="chessboard"),
        pytest.param(ring()[::2, 5:40].T, id="a view"),
    ],
)
def test_large_and_odd_masks_are_written_as_by_the_sdk(pixels: Pixels) -> None:
    rle = encode_rle(Mask.from_full(pixels))
    assert rle == by_the_sdk(pixels)
    assert all(type(value) is int for value in rle), "numpy's integers are no JSON"


def test_a_last_byte_without_room_is_followed_by_a_whole_one() -> None:
    # 53 bits of header, then 15 for the run of 12 values, 14 each for those of 4 and 8:
    # 96 in all, that is 12 bytes.
    rle = encode_rle(Mask.from_full(np.array([[True, True, True, False, True, True]])))
    assert len(rle) == 13
    assert rle[-1] == 0


def test_an_rle_of_another_size_is_refused() -> None:
    rle = encode_rle(Mask.from_full(np.ones((20, 11), np.bool_)))
    with pytest.raises(ValueError, match="10 x 20 pixels"):
        decode_rle(rle, (10, 20))


@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(4)),
        elements=st.sampled_from([0, 1, 127, 128, 255]),
    ),
)
def test_any_values_are_read_as_by_the_sdk(values: NDArray[np.uint8]) -> None:
    # The editor writes the colour of its strokes, too.
    rle = list(encode_by_the_sdk(values.ravel().tolist()))
    opaque = decode_by_the_sdk(rle).reshape(values.shape)[..., 3] > 127
    np.testing.assert_array_equal(decode_rle(rle, (values.shape[0], values.shape[1])), opaque)


@given(st.lists(st.integers(0, 255), max_size=60))
def test_any_bytes_are_pixels_or_no_rle(data: list[int]) -> None:
    rle = [0, 0, 0, 24, *data]
    try:
        assert decode_rle(rle, (2, 3)).shape == (2, 3)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("rle", [[], [0], [0, 0, 0, 4], [0, 0, 0, 4, 255], [300, -1]])
def test_what_is_cut_short_is_refused(rle: list[int]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_rle(rle, (1, 1))


def test_a_literal_run_is_read_value_by_value() -> None:
    header = f"{8:032b}" + f"{7:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}"
    literal = "0" + "01" + f"{7:04b}" + "".join(f"{v:08b}" for v in (9, 9, 9, 255, 1, 2, 3, 4))
    bits = header + literal
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert decode_rle(rle, (1, 2)).tolist() == [[True, False]]
    np.testing.assert_array_equal(decode_by_the_sdk(rle), [9, 9, 9, 255, 1, 2, 3, 4])
