"""HEIC photos; AVIF beside it, where the two containers differ from other formats."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from grounded_labeler.errors import ImageError
from grounded_labeler.images.decode import decode, displayed_size
from grounded_labeler.images.heic import is_heic
from tests.images.test_decode import ORIENTATION, ROOT, check, encoded, gradient, turned

COMPRESSION = 0x0103

heif = pytest.importorskip("pillow_heif", reason="pillow-heif (requirements-heic.txt) is missing")


def heic(image: Image.Image, **options: Any) -> bytes:
    """The file of an image, with an orientation in its container where `exif` has one."""
    file = io.BytesIO()
    heif.from_pillow(image).save(file, quality=95, **options)
    return file.getvalue()


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif.tobytes()


def near(image: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], most: float = 6) -> bool:
    return bool(np.abs(image.astype(int) - expected).mean() < most)


def test_a_photo_is_decoded() -> None:
    data = heic(Image.fromarray(gradient()))
    image = decode(data)
    check(image, 24, 40)
    assert near(image, gradient())
    assert displayed_size(data) == (40, 24)


def test_pillow_is_left_as_it_is() -> None:
    before = dict(Image.OPEN), dict(Image.EXTENSION), dict(Image.SAVE)
    decode(heic(Image.fromarray(gradient())))
    assert before == (Image.OPEN, Image.EXTENSION, Image.SAVE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("with_exif", [False, True])
def test_the_orientation_of_the_container_is_applied_once(
    orientation: int, *, with_exif: bool
) -> None:
    """Phones write the orientation into the container and into the EXIF data."""
    image = Image.fromarray(turned(orientation))
    data = heic(image, exif=exif_of(orientation))
    assert data.count(exif_of(orientation)[6:]) == 1
    if not with_exif:
        data = data.replace(exif_of(orientation)[6:], exif_of(1)[6:])
    decoded = decode(data)
    check(decoded, 24, 40)
    assert near(decoded, gradient())
    assert displayed_size(data) == (40, 24)


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_an_orientation_in_exif_alone_is_not_looked_at(kind: str) -> None:
    """As in browsers: the container's own says how the image is shown."""
    image = Image.fromarray(gradient())
    data = heic(image, exif=exif_of(1))
    if kind == "AVIF":
        # Pillow moves an orientation into the container: here another tag becomes one.
        exif = Image.Exif()
        exif[COMPRESSION] = 6
        data = encoded(image, kind, exif=exif)
    plain = exif_of(1)[6:] if kind == "HEIC" else exif.tobytes()[6:]
    assert data.count(plain) == 1
    data = data.replace(plain, exif_of(6)[6:])
    assert data.count(exif_of(6)[6:]) == 1
    check(decode(data), 24, 40)
    assert displayed_size(data) == (40, 24)


def test_a_photo_of_ten_bits_is_scaled_to_eight() -> None:
    deep = (gradient().astype(np.uint16) * 257).astype(np.uint16)
    file = io.BytesIO()
    heif.from_bytes("RGB;16", (40, 24), deep.tobytes()).save(file, quality=95)
    data = file.getvalue()
    assert heif.open_heif(data, convert_hdr_to_8bit=False).info["bit_depth"] == 10
    for stretch in (False, True):
        image = decode(data, stretch=stretch)
        check(image, 24, 40)
        assert near(image, gradient())


def test_transparent_parts_become_white() -> None:
    image = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert near(decode(heic(image)), np.full((32, 32, 3), 255), 2)


def test_of_several_images_the_main_one_is_decoded() -> None:
    images = [Image.new("RGB", (32, 24), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    both = heif.from_pillow(images[0])
    both.add_from_pillow(images[1])
    both.save(file, quality=95, primary_index=1)
    assert near(decode(file.getvalue()), np.full((24, 32, 3), (0, 0, 255)), 8)


def test_the_pixel_cap_comes_before_decoding() -> None:
    data = heic(Image.new("RGB", (64, 64)))
    with pytest.raises(ImageError, match="more than 4,095 pixels"):
        decode(data, max_pixels=4095)
    assert decode(data, max_pixels=4096).shape == (64, 64, 3)
    # The header claims the most that four bytes can say.
    huge = data.replace(
        (64).to_bytes(4) + (64).to_bytes(4), (30_000).to_bytes(4) + (30_000).to_bytes(4)
    )
    assert huge != data
    with pytest.raises(ImageError, match=r"more than 100,000,000 pixels|damaged"):
        decode(huge)


def test_a_file_that_is_cut_short() -> None:
    data = heic(Image.effect_noise((64, 64), 50).convert("RGB"))
    with pytest.raises(ImageError, match="damaged or cut short"):
        decode(data[: len(data) // 2])


def test_without_pillow_heif_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = heic(Image.fromarray(gradient()))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for read in (decode, displayed_size):
        with pytest.raises(ImageError, match=r"HEIC image: install grounded-labeler\[heic\]"):
            read(data)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", True),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", True),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", False),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", False),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", False),
        (b"", False),
        (b"\0\0\0\x18ftyp", False),
    ],
)
def test_brands(head: bytes, *, expected: bool) -> None:
    assert is_heic(head) is expected


SMALL = heic(Image.fromarray(gradient(12, 16)), exif=exif_of(6))


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 2000),
)
@pytest.mark.filterwarnings("ignore")
def test_mutated_files(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(SMALL)
    for place, value in changes:
        data[place % len(data)] = value
    try:
        image = decode(bytes(data[: cut or None]), max_pixels=1_000_000)
    except ImageError:
        return
    check(image, *image.shape[:2])


def test_no_mutated_file_takes_the_process_down_or_more_memory_than_the_cap(
    tmp_path: Path,
) -> None:
    (tmp_path / "0").write_bytes(SMALL)
    (tmp_path / "1").write_bytes(heic(Image.new("RGBA", (16, 16), (255, 0, 0, 9))))
    command = [sys.executable, "-m", "tests.helpers.mutate", str(tmp_path), "1500", "1000000"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    decoded, refused, growth = map(int, ran.stdout.split())
    assert decoded > 100
    assert refused > 100
    assert growth < 100_000_000, f"{growth:,} bytes"


@pytest.mark.parametrize("bits", [10, 12])
def test_an_avif_of_more_bits_is_scaled_to_eight(bits: int) -> None:
    deep = (gradient()[..., ::-1].astype(np.uint16) << (bits - 8)).astype(np.uint16)
    options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 95]
    done, data = cv2.imencode(".avif", deep, options)
    assert done
    for stretch in (False, True):
        image = decode(data.tobytes(), stretch=stretch)
        check(image, 24, 40)
        assert near(image, gradient())
