"""From the bytes of a file to the picture a browser would show."""

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from grounded_labeler.errors import ImageError
from grounded_labeler.structures import RGBImage

# What browsers show, and TIFF. A JPEG with several pictures (MPO) counts as JPEG.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")

# All that Pillow's readers were seen to raise on damaged files.
_DAMAGE = (
    OSError,  # with UnidentifiedImageError
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)
# The warning is raised where warnings are made errors. Pillow's own limit is left as
# it is: it belongs to the whole process.
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def decode(data: bytes, *, max_pixels: int = 100_000_000) -> RGBImage:
    """The picture in `data`: uint8 RGB (H, W, 3), contiguous, upright.

    Animations give their first frame, transparent parts become white, deeper greys
    are scaled to 8 bits. Colour profiles are not applied. Raises ImageError when
    `data` is no picture, is damaged or has more than `max_pixels`.
    """
    try:
        # Reads the header only, so the size is known before any pixel is decoded.
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise ImageError(_too_many(max_pixels))
            image.load()
            return _to_rgb(_upright(image))
    except _BOMB as error:
        raise ImageError(_too_many(max_pixels)) from error
    except UnidentifiedImageError as error:
        raise ImageError(_what_it_is(data)) from error
    except MemoryError as error:
        raise ImageError(
            "The image does not fit in memory: MAX_IMAGE_PIXELS is too high."
        ) from error
    except _DAMAGE as error:
        raise ImageError("The image file is damaged or cut short.") from error


def _upright(image: Image.Image) -> Image.Image:
    # Pillow falls back on the orientation in XMP, which browsers do not look at.
    for key in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(key, None)
    with suppress(*_DAMAGE):  # with damaged EXIF data a browser shows the picture as it is stored
        return ImageOps.exif_transpose(image)
    return image


def _to_rgb(image: Image.Image) -> RGBImage:
    if image.mode == "F" or image.mode.startswith("I"):
        grey = _eight_bits(np.asarray(image))
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    return np.array(image.convert("RGB"))


def _eight_bits(grey: NDArray[Any]) -> NDArray[np.uint8]:
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


def _too_many(max_pixels: int) -> str:
    return f"The image has more than {max_pixels:,} pixels, the limit that MAX_IMAGE_PIXELS sets."


def _what_it_is(data: bytes) -> str:
    head = data[:1024].lstrip().lower()
    if not head:
        return "The image file is empty."
    if b"<svg" in head:
        return "This is an SVG drawing, not an image of pixels: export it as PNG."
    if head.startswith(b"<"):
        return "This is a web page, not an image: is the token right, and does the link still work?"
    if head.startswith((b"{", b"[")):
        return "This is JSON, not an image: does the address lead to the file itself?"
    if head.startswith(b"%pdf"):
        return "This is a PDF document, not an image: export its pages as PNG."
    return f"The file is not an image in a known format ({', '.join(_FORMATS)}), or it is damaged."
