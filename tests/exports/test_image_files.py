"""Image files are what was looked at, for every reader, under names that every system takes."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from grounded_labeler.errors import ImageError
from grounded_labeler.exports.image_files import file_stems, image_file
from grounded_labeler.images.decode import decode
from tests.conftest import SAMPLES

LIMIT = 100_000_000
PIXELS = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


IMAGE = Image.fromarray(PIXELS)


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (saved(IMAGE, "JPEG"), ".jpg"),
        (saved(IMAGE.convert("L"), "JPEG"), ".jpg"),
        (saved(IMAGE, "JPEG", exif=turned(1)), ".jpg"),
        (saved(IMAGE, "PNG"), ".png"),
        (saved(IMAGE.convert("P"), "PNG"), ".png"),
        (saved(IMAGE, "WEBP"), ".webp"),
        (saved(IMAGE, "BMP"), ".bmp"),
        (saved(IMAGE, "TIFF"), ".tif"),
    ],
)
def test_a_plain_file_is_kept_byte_for_byte(data: bytes, suffix: str) -> None:
    file = image_file(data, (30, 40), max_pixels=LIMIT)
    assert file == type(file)(data, suffix, is_original=True)


@pytest.mark.parametrize(
    "data",
    [
        *(saved(IMAGE, kind, exif=turned(n)) for kind in ("JPEG", "PNG") for n in range(2, 9)),
        saved(IMAGE, "TIFF", exif=turned(6)),
        saved(IMAGE.convert("CMYK"), "JPEG"),
        saved(IMAGE.convert("RGBA"), "PNG"),
        saved(IMAGE.convert("L"), "PNG", transparency=3),
        saved(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257), "PNG"),
        saved(IMAGE, "GIF"),
        saved(IMAGE, "AVIF"),
        saved(IMAGE, "WEBP", save_all=True, append_images=[IMAGE.rotate(180)]),
        saved(IMAGE, "TIFF", save_all=True, append_images=[IMAGE.rotate(180)]),
        saved(IMAGE, "JPEG", quality=95)[:-2],
    ],
)
def test_any_other_file_is_written_upright(data: bytes) -> None:
    seen = decode(data)
    file = image_file(data, seen.shape[:2], max_pixels=LIMIT)
    assert not file.is_original
    with Image.open(io.BytesIO(file.data)) as image:
        assert image.getexif() == {}
        pixels = np.asarray(image)  # of a reader that knows nothing of orientation
    assert (file.suffix == ".jpg") == data.startswith(b"\xff\xd8")
    off = np.abs(pixels.astype(int) - seen)
    assert off.mean() < 4 if file.suffix == ".jpg" else not off.any()


def test_a_turned_photo_is_upright() -> None:
    data = (SAMPLES / "rotated.jpg").read_bytes()
    height, width, _ = decode(data).shape
    file = image_file(data, (height, width), max_pixels=LIMIT)
    with Image.open(io.BytesIO(data)) as stored, Image.open(io.BytesIO(file.data)) as image:
        assert stored.size != (width, height)
        assert image.size == (width, height)


def test_deep_images_are_stretched_where_that_is_asked_for() -> None:
    data = saved(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 16), "PNG")
    for stretch in (False, True):
        file = image_file(data, (30, 40), max_pixels=LIMIT, stretch=stretch)
        with Image.open(io.BytesIO(file.data)) as image:
            assert (np.asarray(image) == decode(data, stretch=stretch)).all()


def test_colours_of_16_bits_are_written_with_8() -> None:
    _, coded = cv2.imencode(".png", PIXELS.astype(np.uint16) * 257)
    file = image_file(coded.tobytes(), (30, 40), max_pixels=LIMIT)
    assert not file.is_original
    written = np.asarray(cv2.imdecode(np.frombuffer(file.data, np.uint8), -1))
    assert (written == PIXELS).all()
    assert written.dtype == np.uint8


def test_an_image_of_another_size_is_another_image() -> None:
    with pytest.raises(ImageError, match=r"40 x 30 pixels now, and had 50 x 30"):
        image_file(saved(IMAGE, "PNG"), (30, 50), max_pixels=LIMIT)


def test_what_is_no_image_says_so() -> None:
    with pytest.raises(ImageError, match="web page"):
        image_file(b"<html>", (30, 50), max_pixels=LIMIT)


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        ([], []),
        (["a.jpg"], ["a"]),
        (["a/b.jpg", "c/b.jpg"], ["a_b", "c_b"]),
        (["a.jpg", "a.png", "A.JPG"], ["a", "a-2", "A-3"]),
        (["a/b.jpg", "a_b.jpg"], ["a_b", "a_b-2"]),
        (["my car 1.jpg"], ["my_car_1"]),
        (["Straße/フクロウ 🦉.jpg"], ["Straße_フクロウ_🦉"]),
        (["é.jpg", "e\u0301.png"], ["é", "e\u0301-2"]),
        (["images/labels/x.jpg"], ["images_labels_x"]),
        (["../../etc/passwd"], ["etc_passwd"]),
        (["..", "."], ["image", "image-2"]),
        ([".hidden.jpg", "-rf.jpg"], ["_hidden", "_rf"]),
        (["a.tar.gz"], ["a.tar"]),
        (['w"i?n*d<o>w|s:\\x.jpg'], ["w_i_n_d_o_w_s_x"]),
        (["50%#1.png"], ["50_1"]),
        (["bytes\udcff.jpg"], ["bytes_"]),
    ],
)
def test_names(names: list[str], stems: list[str]) -> None:
    assert file_stems(names) == stems


def test_long_names_stay_apart() -> None:
    long = "🦉" * 200
    first, second = file_stems([f"{long}a.jpg", f"{long}b.jpg"])
    assert first != second
    assert max(len(stem.encode()) for stem in (first, second)) <= 200


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1), unique=True))
def test_no_two_files_share_a_name(names: list[str]) -> None:
    stems = file_stems(names)
    assert len({stem.casefold() for stem in stems}) == len(names)
    for stem in stems:
        assert stem
        assert not set(stem) & set('/\\ \n\t"*?')
        assert stem[0] not in ".-"
