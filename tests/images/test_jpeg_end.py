"""A JPEG that is cut short is read as the whole one is, or not at all."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import ImageError
from grounded_labeler.images.decode import decode
from grounded_labeler.images.jpeg_end import is_without_end

CASES = Path(__file__).parents[1] / "data" / "cases"
GREY = Image.linear_gradient("L").resize((50, 37))
IMAGES = {
    "noise": Image.effect_noise((48, 32), 60).convert("RGB"),
    "gradient": GREY.convert("RGB"),
    "one colour": Image.new("RGB", (48, 32)),
    "grey": GREY,
}
WAYS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "own tables": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 2},
    "best": {"quality": 100, "subsampling": 0},
    "least": {"quality": 5},
}


def encoded(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def decoded(data: bytes) -> RGBImage | None:
    try:
        return decode(data)
    except ImageError:
        return None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("padding", [b"", bytes(5000)], ids=["cut", "filled up with zeros"])
def test_a_jpeg_cut_anywhere_is_read_as_the_whole_one_or_refused(
    image: str, way: str, padding: bytes
) -> None:
    data = encoded(IMAGES[image], **WAYS[way])
    whole = decode(data)
    cuts = {missing: decoded(data[:-missing] + padding) for missing in range(1, len(data) - 100)}
    read = [missing for missing, pixels in cuts.items() if pixels is not None]
    assert all(np.array_equal(pixels, whole) for pixels in cuts.values() if pixels is not None)
    assert len(read) < 6
    assert not padding or len(read) > 0
    assert padding or {1, 2} <= set(read)  # half of the end marker, and all of it


def test_the_one_of_a_stranger() -> None:
    assert decode((CASES / "no-eoi.jpg").read_bytes()).shape == (480, 640, 3)


def test_scans_that_are_missing_as_a_whole_are_missed() -> None:
    data = encoded(IMAGES["gradient"], progressive=True)
    last_scan = data.rindex(b"\xff\xc4")  # its tables come before it
    with pytest.raises(ImageError, match="cut short"):
        decode(data[:last_scan])


def test_the_end_of_a_thumbnail_is_not_the_image_s() -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + encoded(IMAGES["grey"])
    data = encoded(IMAGES["noise"], exif=exif)
    assert not is_without_end(data)
    assert is_without_end(data[:-2])
    assert np.array_equal(decode(data[:-2]), decode(data))
    with pytest.raises(ImageError, match="cut short"):
        decode(data[:-200])


@pytest.mark.parametrize("trailer", [b"a trailer", b"\xff\xd8\xff", bytes(100)])
def test_what_follows_the_end_is_not_looked_at(trailer: bytes) -> None:
    data = encoded(IMAGES["noise"])
    assert np.array_equal(decode(data + trailer), decode(data))


@pytest.mark.parametrize("data", [b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xda\0\x0c\x03"])
def test_what_is_hardly_a_jpeg_is_refused(data: bytes) -> None:
    assert is_without_end(data)
    assert decoded(data) is None


@pytest.mark.parametrize("data", [b"", b"\x89PNG", encoded(IMAGES["grey"])])
def test_what_lacks_no_end(data: bytes) -> None:
    assert not is_without_end(data)
