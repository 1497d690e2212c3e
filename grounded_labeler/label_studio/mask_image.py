"""Masks as PNG images in an address, `data:image/png;base64,...`."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grounded_labeler.core.types import Mask
from grounded_labeler.images.decode import decode_opacity, displayed_size

_WHITE = 1  # a pixel of an image of one bit


def bitmask_url(mask: Mask) -> str:
    """Return a mask as a bitmask region holds it: the object black and opaque, the rest clear.

    The image has the size of the displayed one. https://labelstud.io/tags/bitmask has the tag.
    """
    return _png_url(~mask.full(), transparency=_WHITE)


def decode_bitmask(url: str, size_hw: tuple[int, int] | None = None) -> NDArray[np.bool_]:
    """Return the pixels, bool (H, W), of what `bitmask_url` or Label Studio's editor made.

    Raises ImageError for what is no image, ValueError for another size than `size_hw` and for
    what is not written in base64.
    """
    data = base64.b64decode(url.partition(",")[2])
    if size_hw is not None and (size_wh := displayed_size(data)) != size_hw[::-1]:
        raise ValueError(f"the mask must be {size_hw[0]} x {size_hw[1]} pixels, got {size_wh}")
    return decode_opacity(data) > 0


def white_on_black_url(mask: Mask) -> str:
    """Return a mask as Label Studio's interactive layer reads it: where red is above 127."""
    return _png_url(mask.full())


def _png_url(pixels: NDArray[np.bool_], **png: int) -> str:
    """A PNG of one bit a pixel, bool (H, W), white where it is True."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **png)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
