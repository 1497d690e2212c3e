"""From the bytes of a file to the image a browser would show."""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import ImageError
from grounded_labeler.images.depth import (
    eight_bits,
    is_deep_colour,
    is_deep_grey,
    is_nearly_black,
    read_deep_colour,
    stretched,
)
from grounded_labeler.images.heic import is_heic, open_heic
from grounded_labeler.images.jpeg_end import completions, is_without_end

# What browsers show, and TIFF. A JPEG with several images (MPO) counts as JPEG. HEIC is read apart.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF")

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


# What PNG's text chunks and XMP say of the orientation: Pillow looks there, browsers do not.
_NOT_LOOKED_AT = ("xmp", "XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1")
# What every reader of datasets reads, by its usual ending, and the modes they agree on.
_PLAIN_FORMATS = {
    "JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif",
}  # fmt: skip
_PLAIN_MODES = ("1", "L", "P", "RGB")
# By EXIF orientation, what makes the stored image upright: EXIF 2.32, table 4.6.4-A.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = (5, 6, 7, 8)  # those that swap width and height


def decode(data: bytes, *, max_pixels: int = 100_000_000, stretch: bool = False) -> RGBImage:
    """Decode the image in `data`: uint8 RGB (H, W, 3), contiguous, upright.

    Animations give their first frame, transparent parts become white. Channels of more
    than 8 bits are scaled to 8 or, with `stretch`, go from their darkest to their brightest
    value; those of HEIC and AVIF, which use all their bits, are scaled alone. Colour profiles
    are not applied. A JPEG whose end is missing is read when all its pixels are there.

    Raises ImageError when `data` is no image, is damaged or has more than `max_pixels`, or is
    HEIC and pillow-heif is not installed.
    """
    with _sentences(data, max_pixels):
        if is_without_end(data):
            return _pixels_without_end(data, max_pixels)
        return _pixels(data, max_pixels, stretch=stretch)


def from_pillow(
    image: Image.Image, *, max_pixels: int = 100_000_000, stretch: bool = False
) -> RGBImage:
    """Convert an image that Pillow opened or made, as `decode` does; `image` stays as it is.

    Colours are never stretched: Pillow has cut them to 8 bits.

    Raises ImageError when the file behind `image` is damaged, or has more than `max_pixels`.
    """
    if image.width * image.height > max_pixels:
        raise ImageError(_too_many(max_pixels))
    with _sentences(b"", max_pixels):
        return _to_rgb(_upright(image.copy()), stretch=stretch)


def looks_unstretched(data: bytes, pixels: RGBImage, *, max_pixels: int = 100_000_000) -> bool:
    """Tell whether the image in `data` has more than 8 bits a channel and is nearly black.

    `pixels` is what `decode` made of it without `stretch`. A dark photo of 8 bits is what it is.
    Raises ImageError as `decode` does.
    """
    with _sentences(data, max_pixels), _opened(data, max_pixels) as image:
        is_deep = is_deep_grey(image) or is_deep_colour(image)
    return is_deep and is_nearly_black(pixels)


def displayed_size(data: bytes, *, max_pixels: int = 100_000_000) -> tuple[int, int]:
    """Read the width and height that `decode` gives the image in `data`; most pixels stay coded.

    Raises ImageError as `decode` does, but for what only the pixels show.
    """
    with _sentences(data, max_pixels), _opened(data, max_pixels) as image:
        # Before Pillow has loaded a TIFF, its size is the turned one and its tag still there.
        turned = image.format != "TIFF" and _orientation(image) in _QUARTER_TURNS
        return (image.height, image.width) if turned else image.size


def decode_opacity(data: bytes, *, max_pixels: int = 100_000_000) -> NDArray[np.uint8]:
    """Decode how opaque each pixel of the image in `data` is: uint8 (H, W), upright.

    Raises ImageError as `decode` does.
    """
    with _sentences(data, max_pixels), _opened(data, max_pixels) as image:
        image.load()
        return np.array(_upright(image).convert("RGBA"))[..., 3]


def plain_suffix(data: bytes) -> str | None:
    """Return ".jpg" or the like for a file that every reader shows as `decode` does.

    None for one that some may show otherwise: turned by a tag, without an end, of several
    images, with transparent parts, in colours for print, of more than 8 bits, damaged, or in a
    format that not all of them know. `data` is of an image that `displayed_size` takes.
    """
    formats = tuple(name for name in _PLAIN_FORMATS if name != "MPO")
    with suppress(*_DAMAGE), Image.open(io.BytesIO(data), formats=formats) as image:
        suffix = _PLAIN_FORMATS[image.format or ""]
        if suffix == ".jpg":  # one with several images (MPO) is read as its first by all
            is_whole = not is_without_end(data)
        else:
            is_whole = getattr(image, "n_frames", 1) == 1
        is_deep = is_deep_colour(image)
        if is_whole and image.mode in _PLAIN_MODES and not (is_deep or image.has_transparency_data):
            if suffix == ".png":
                image.load()  # its EXIF data may come after the pixels
            # With XMP, where some readers look.
            return suffix if image.getexif().get(ExifTags.Base.Orientation, 1) == 1 else None
    return None


@contextmanager
def _sentences(data: bytes, max_pixels: int) -> Iterator[None]:
    """Turn what Pillow raises into an ImageError."""
    try:
        yield
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


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    # Reads the header only, so the size is known before any pixel is decoded.
    opened = open_heic(data) if is_heic(data) else Image.open(io.BytesIO(data), formats=_FORMATS)
    with opened as image:
        if image.width * image.height > max_pixels:
            raise ImageError(_too_many(max_pixels))
        _forget_what_browsers_ignore(image)  # a TIFF is turned while it is loaded
        yield image


def _pixels(data: bytes, max_pixels: int, *, stretch: bool = False) -> RGBImage:
    with _opened(data, max_pixels) as image:
        if stretch and is_deep_colour(image):
            image.load()  # OpenCV would make pixels up that are missing
            turn = _TURNS.get(_orientation(image))  # of a TIFF, Pillow forgets it while it loads
            deep = read_deep_colour(data)
            return _to_rgb(deep if turn is None else deep.transpose(turn))
        image.load()
        if image.width * image.height > max_pixels:  # the header of a HEIC file may be wrong
            raise ImageError(_too_many(max_pixels))
        return _to_rgb(_upright(image), stretch=stretch)


def _pixels_without_end(data: bytes, max_pixels: int) -> RGBImage:
    """Decode a JPEG without end; ValueError when pixels are missing, too.

    Pillow would make some up.
    """
    first, *others = (_pixels(one, max_pixels) for one in completions(data))
    if not all(np.array_equal(first, other) for other in others):
        raise ValueError("pixels are missing")
    return first


def _forget_what_browsers_ignore(image: Image.Image) -> None:
    for key in _NOT_LOOKED_AT:
        image.info.pop(key, None)


def _orientation(image: Image.Image) -> int:
    """Read the EXIF orientation, 1 where there is none that can be read.

    That of a HEIC file is not looked at: the decoder has turned the image already.
    """
    if image.format == "HEIF":
        return 1
    with suppress(*_DAMAGE):  # with damaged EXIF data a browser shows the image as it is stored
        if isinstance(image, PngImageFile):
            image.load()  # its EXIF data may come after the pixels
        _forget_what_browsers_ignore(image)
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return orientation if isinstance(orientation, int) else 1
    return 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, *, stretch: bool = False) -> RGBImage:
    if is_deep_grey(image):
        values = np.asarray(image)
        grey = stretched(values) if stretch else eight_bits(values)
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    return np.array(image.convert("RGB"))


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
    known = ", ".join((*_FORMATS, "HEIC"))
    return f"The file is not an image in a known format ({known}), or it is damaged."
