"""Masks in addresses are read back as they were, and nothing else is taken for one."""

import base64

import numpy as np
import pytest

from grounded_labeler.core.types import Mask
from grounded_labeler.errors import ImageError
from grounded_labeler.label_studio.mask_image import bitmask_url, decode_bitmask

PIXELS = np.random.default_rng(0).random((30, 40)) > 0.5
URL = bitmask_url(Mask.from_full(PIXELS))


def test_a_bitmask_is_read_back_as_it_was() -> None:
    np.testing.assert_array_equal(decode_bitmask(URL), PIXELS)
    np.testing.assert_array_equal(decode_bitmask(URL, (30, 40)), PIXELS)


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
