"""The image files of a dataset: what they are called, and what is in them."""

import io
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from PIL import Image

from grounded_labeler.errors import ImageError
from grounded_labeler.images.decode import decode, displayed_size, plain_suffix

# Windows takes none of <>:"|?* and \, lists of images are read word by word, and an address ends
# at # or %. A dot or a dash at the beginning hides a file, or makes it an option.
_REPLACED = re.compile(r"[\s\x00-\x1f\x7f-\x9f<>:\"|?*\\/#%\ufffd]+|^[.-]+|[. ]+$")
_LONGEST_BYTES = 200  # file systems take 255, with the ending and what is added to tell names apart
_DIGITS = 8  # of a digest in the place of what is cut off
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class ImageFile:
    """A file that every reader shows as it was looked at; `is_original` says byte for byte."""

    data: bytes
    suffix: str
    is_original: bool


def image_file(
    data: bytes, size_hw: tuple[int, int], *, max_pixels: int, stretch: bool = False
) -> ImageFile:
    """Return the file that is read in `data`, or one with the same pixels that is plain.

    A JPEG becomes a JPEG again, of quality 95, everything else a PNG without loss.
    `size_hw` is what the image had when it was looked at; `stretch` is as `decode` has it.
    Raises ImageError when it has another size now, and as `decode` does.
    """
    width, height = displayed_size(data, max_pixels=max_pixels)
    if (height, width) != size_hw:
        raise ImageError(
            f"The image has {width} x {height} pixels now, and had {size_hw[1]} x {size_hw[0]} "
            "when it was looked at."
        )
    suffix = plain_suffix(data)
    if suffix is not None:
        return ImageFile(data, suffix, is_original=True)
    image, file = (
        Image.fromarray(decode(data, max_pixels=max_pixels, stretch=stretch)),
        io.BytesIO(),
    )
    if data.startswith(b"\xff\xd8"):
        image.save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        return ImageFile(file.getvalue(), ".jpg", is_original=False)
    image.save(file, "PNG")
    return ImageFile(file.getvalue(), ".png", is_original=False)


def file_stems(names: Sequence[str]) -> list[str]:
    """Name a file for each image, by what its source calls it: without folder and ending.

    What stands for `a/b.jpg` is `a_b`: trainers look for `images` in a path, or in one folder
    alone. No two names are the same, not even for a file system that has no upper case, whatever
    the ending: labels of image.jpg and image.png would be one file.
    """
    taken: set[str] = set()
    stems = []
    for name in names:
        stem = first = _stem(name)
        number = 1
        while (key := unicodedata.normalize("NFKC", stem).casefold()) in taken:
            number += 1
            stem = f"{first}-{number}"
        taken.add(key)
        stems.append(stem)
    return stems


def _stem(name: str) -> str:
    text = name.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    parts = [part for part in text.split("/") if part not in {"", ".", ".."}]
    stem, _ = os.path.splitext("_".join(parts))  # noqa: PTH122 - of a path that is no file's
    stem = _REPLACED.sub("_", stem) or "image"
    data = stem.encode("utf-8")
    if len(data) > _LONGEST_BYTES:
        digest = sha256(data).hexdigest()[:_DIGITS]
        stem = data[: _LONGEST_BYTES - _DIGITS - 1].decode("utf-8", "ignore") + "-" + digest
    return stem
