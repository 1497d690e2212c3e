"""Images of more than 8 bits a channel: as 8 bits, stretched where that is asked for."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import ImageError

NEARLY_BLACK = (
    "This image is nearly black: 12-bit data in a 16-bit file? STRETCH=true or --stretch "
    "brightens it."
)
# White of 12 bits in a 16-bit file is 4095, which becomes 15 of 255.
_BLACKEST = 16
_SHARE_BRIGHTER = 0.001

_NOT_STRETCHED = (
    "The colours of this 16-bit image cannot be stretched: save it as RGB, or label it without "
    "--stretch and STRETCH."
)

# So much of an image may be darker, and as much brighter, than what becomes 0 and 255: a sensor's
# hot pixels. An object of 35 x 35 pixels in 12 megapixels is larger.
_OUTSIDE = 0.0001


def is_deep_grey(image: Image.Image) -> bool:
    """Tell whether `image` has one channel of 16 or 32 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def is_deep_colour(image: Image.Image) -> bool:
    """Tell whether the file of `image`, which is not loaded yet, has channels of 16 bits.

    Pillow names how they are stored, as "RGB;16B", and cuts them to 8 bits when it loads them.
    """
    tiles = getattr(image, "tile", ())
    return not is_deep_grey(image) and any(";16" in str(tile[3]) for tile in tiles)


def is_nearly_black(pixels: RGBImage) -> bool:
    """Tell whether a thousandth of the values at most is brighter than white of 12 bits is."""
    return int(np.count_nonzero(pixels >= _BLACKEST)) <= pixels.size * _SHARE_BRIGHTER


def read_deep_colour(data: bytes) -> Image.Image:
    """Decode a PNG or TIFF with channels of 16 bits, stretched to 8.

    OpenCV turns a TIFF as its orientation says, as Pillow does, and no PNG.

    All colours are stretched alike, so that hues stay; opacity is not.

    Raises ImageError where OpenCV does not read such channels, as those of CMYK.
    """
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(_NOT_STRETCHED) from error
    if array is None or array.dtype != np.uint16 or array.ndim != 3 or array.shape[2] not in (3, 4):
        raise ImageError(_NOT_STRETCHED)
    colours = stretched(np.ascontiguousarray(array[..., 2::-1]))
    if array.shape[2] == 3:
        return Image.fromarray(colours)
    return Image.fromarray(np.dstack([colours, (array[..., 3] // 256).astype(np.uint8)]))


def eight_bits(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W) of 16 or 32 bits, or float, as 0 to 255; Pillow would cut all above 255 off.

    Whole numbers up to 65535 are taken as 16-bit, floats up to 1 or 255 as parts of
    that. Anything else is stretched from its lowest to its highest value.
    """
    if grey.dtype.itemsize == 2:  # "I;16" in either byte order
        return (grey >> 8).astype(np.uint8)
    values = grey.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    tops = (1.0, 255.0) if grey.dtype.kind == "f" else (65535.0,)
    top = next((top for top in tops if low >= 0 and high <= top), None)
    if top is None:
        values -= low
        top = high - low or 1.0
    return (values * (255 / top)).astype(np.uint8)


def stretched(values: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3) of 16 or 32 bits, or float, from its darkest to its brightest value.

    A ten-thousandth of the values may lie below what becomes 0, and as many above what becomes
    255. An image of one value becomes what `eight_bits` makes of it.
    """
    low, high = _limits(values)
    if low >= high:
        return eight_bits(values)
    # As float32: of 16-bit values it is exact, and half of the memory.
    brightened = values.astype(np.float32 if values.dtype.itemsize == 2 else np.float64)
    brightened = np.nan_to_num(brightened, copy=False, nan=low, posinf=high, neginf=low)
    brightened -= low
    brightened *= 255 / (high - low)
    np.clip(brightened, 0, 255, out=brightened)
    bright: NDArray[np.uint8] = brightened.round().astype(np.uint8)
    return bright


def _limits(values: NDArray[Any]) -> tuple[float, float]:
    """The values that become 0 and 255; the lowest and the highest where those are the same."""
    if values.dtype.itemsize == 2:
        counts = np.cumsum(np.bincount(values.ravel(), minlength=1))
        outside = int(counts[-1] * _OUTSIDE)
        low = int(np.searchsorted(counts, outside, side="right"))
        high = int(np.searchsorted(counts, counts[-1] - outside))
        lowest, highest = int(np.searchsorted(counts, 1)), len(counts) - 1
    else:
        finite = np.sort(values[np.isfinite(values)], axis=None).astype(np.float64)
        if not finite.size:
            return 0.0, 0.0
        outside = int(finite.size * _OUTSIDE)
        low, high = finite[outside], finite[-1 - outside]
        lowest, highest = finite[0], finite[-1]
    return (float(low), float(high)) if low < high else (float(lowest), float(highest))
