"""HEIC, the photos of phones, through pillow-heif: an extra, and opened here alone.

pillow-heif's opener is not registered with Pillow, which is of the whole process.
"""

import io
import struct

from PIL import ImageFile

from grounded_labeler.errors import ImageError

# Major brands of files with HEVC, as ISO/IEC 23008-12 (B.4) names them.
_HEVC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_ANY_CODEC = frozenset({b"mif1", b"msf1"})  # what is in them say their other brands
_AVIF = frozenset({b"avif", b"avis"})
_MOST_BRANDS_BYTES = 256


def is_heic(data: bytes) -> bool:
    """Tell whether the file in `data` says at its beginning that it is HEIC; AVIF is not."""
    if data[4:8] != b"ftyp":
        return False
    major = data[8:12]
    if major not in _ANY_CODEC:
        return major in _HEVC
    [size] = struct.unpack(">I", data[:4])
    others = data[16 : min(size, _MOST_BRANDS_BYTES)]
    brands = {others[place : place + 4] for place in range(0, len(others), 4)}
    return brands.isdisjoint(_AVIF)


def open_heic(data: bytes) -> ImageFile.ImageFile:
    """Read the headers of the HEIC file in `data`, of its main image; the pixels stay coded.

    The decoder turns and mirrors the image as the file says, and leaves the EXIF orientation
    aside, as ISO/IEC 23008-12 has it: the size is the displayed one. 10 and 12 bits become 8.

    Raises ImageError where pillow-heif is not installed, SyntaxError for a damaged file.
    """
    try:
        from pillow_heif import HeifImageFile  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImageError(
            "This is a HEIC image: install grounded-labeler[heic] to read it, or convert it to "
            "JPEG or PNG."
        ) from error
    image: ImageFile.ImageFile = HeifImageFile(io.BytesIO(data))
    return image
