"""Masks in addresses are read back as they were, and nothing else is taken for one."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from grounded_labeler.core.types import Mask
from grounded_labeler.errors import ImageError
from grounded_labeler.label_studio.mask_image import bitmask_url, decode_bitmask, white_on_black_url

PIXELS = np.random.default_rng(0).random((30, 40)) > 0.5
URL = bitmask_url(Mask.from_full(PIXELS))


def test_a_bitmask_is_read_back_as_it_was() -> None:
    np.testing.assert_array_equal(decode_bitmask(URL), PIXELS)
    np.testing.assert_array_equal(decode_bitmask(URL, (30, 40)), PIXELS)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """Any crop at any place of an image up to 30 x 30."""
    height, width = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    top, left = draw(st.integers(0, height)), draw(st.integers(0, width))
    shape = (draw(st.integers(0, height - top)), draw(st.integers(0, width - left)))
    return Mask(draw(arrays.arrays(np.bool_, shape)), left, top, (height, width))


@given(masks())
def test_any_mask_is_read_by_others_as_it_was(mask: Mask) -> None:
    for url, is_clear in ((bitmask_url(mask), True), (white_on_black_url(mask), False)):
        image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        assert image.info.get("transparency") == (255 if is_clear else None)  # white
        image.load()
        assert image.mode == "1"
        np.testing.assert_array_equal(np.asarray(image), mask.full() != is_clear)
        if is_clear:
            opacity = np.asarray(image.convert("RGBA"))[..., 3]
            np.testing.assert_array_equal(opacity, mask.full() * 255)


def test_a_bitmask_of_another_size_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ValueError, match="must be 40 x 30 pixels"):
        decode_bitmask(URL, (40, 30))


@pytest.mark.parametrize("data", [b"", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"nothing"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode_bitmask(f"data:image/png;base64,{base64.b64encode(data).decode()}")


def test_what_is_cut_short_is_refused() -> None:
    data = base64.b64decode(URL.partition(",")[2])[:-60]
    with pytest.raises(ImageError):
        decode_bitmask(f"data:image/png;base64,{base64.b64encode(data).decode()}", (30, 40))
