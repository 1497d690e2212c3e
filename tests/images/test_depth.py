"""12-bit data in 16-bit files: stretched where that is asked for, noticed where it is not."""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from grounded_labeler.errors import ImageError
from grounded_labeler.images.decode import decode, from_pillow, looks_unstretched
from tests.images.test_decode import ORIENTATION, check, encoded, gradient, turned

Array = NDArray[Any]


def twelve_bits(image: Array) -> NDArray[np.uint16]:
    """An 8-bit image as a camera of 12 bits writes it into 16."""
    return (image.astype(np.uint16) * 16).astype(np.uint16)


def deep(array: Array, ending: str) -> bytes:
    """The file of 16-bit grey (H, W), colours (H, W, 3) or with opacity (H, W, 4)."""
    swapped = array if array.ndim == 2 else array[..., [2, 1, 0, 3][: array.shape[2]]]
    done, data = cv2.imencode(ending, swapped)
    assert done
    return data.tobytes()


def grey() -> NDArray[np.uint8]:
    return np.ascontiguousarray(gradient(60, 100)[..., 0] // 2 + gradient(60, 100)[..., 1] // 2)


@pytest.mark.parametrize("ending", [".png", ".tiff"])
@pytest.mark.parametrize("colour", [False, True])
def test_twelve_bits_are_stretched(ending: str, *, colour: bool) -> None:
    expected = gradient(60, 100) if colour else grey()
    data = deep(twelve_bits(expected), ending)
    dark, bright = decode(data), decode(data, stretch=True)
    check(bright, 60, 100)
    assert dark.max() <= 15
    wanted = expected if colour else np.repeat(expected[..., None], 3, axis=2)
    assert np.abs(bright.astype(int) - wanted).max() <= 2


def test_more_than_the_sixteen_steps_of_eight_bits_are_left() -> None:
    data = deep(twelve_bits(gradient(60, 300)), ".png")
    assert len(np.unique(decode(data)[..., 0])) <= 16
    assert len(np.unique(decode(data, stretch=True)[..., 0])) > 200


@pytest.mark.parametrize("colour", [False, True])
def test_a_hot_pixel_does_not_matter(*, colour: bool) -> None:
    array = twelve_bits(gradient(200, 300) if colour else gradient(200, 300)[..., 0])
    clean = decode(deep(array, ".png"), stretch=True)
    hot = array.copy()
    hot[5, 7] = 65535
    bright = decode(deep(hot, ".png"), stretch=True)
    others = np.ones((200, 300), bool)
    others[5, 7] = False
    assert np.abs(bright.astype(int) - clean)[others].max() <= 1
    assert (bright[5, 7] == 255).all()


def test_a_small_object_on_a_flat_ground_is_seen() -> None:
    """The ground is of one value, and the object a ten-thousandth of the image."""
    array = np.full((1000, 1000), 100, np.uint16)
    array[500:505, 500:505] = 3000
    bright = decode(deep(array, ".png"), stretch=True)
    assert (bright[500:505, 500:505] == 255).all()
    assert bright[0, 0, 0] == 0


@pytest.mark.parametrize("value", [0, 40, 65535])
def test_an_image_of_one_value_is_not_stretched(value: int) -> None:
    data = deep(np.full((10, 12), value, np.uint16), ".png")
    assert np.array_equal(decode(data, stretch=True), decode(data))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP", "GIF", "BMP", "AVIF"])
def test_eight_bits_stay_as_they_are(kind: str) -> None:
    data = encoded(Image.fromarray(gradient() // 8), kind)
    assert np.array_equal(decode(data, stretch=True), decode(data))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_of_32_bits_are_stretched(mode: str) -> None:
    values = np.linspace(0, 4095, 60 * 100).reshape(60, 100)
    image = Image.fromarray(values.astype(np.int32 if mode == "I" else np.float32))
    bright = decode(encoded(image, "TIFF"), stretch=True)
    check(bright, 60, 100)
    assert bright.min() == 0
    assert bright.max() == 255


def test_values_that_are_no_numbers() -> None:
    values = np.linspace(0.0, 0.05, 400, dtype=np.float32).reshape(20, 20)
    values[0, :3] = np.nan, np.inf, -np.inf
    bright = decode(encoded(Image.fromarray(values), "TIFF"), stretch=True)
    assert bright[0, :3, 0].tolist() == [0, 255, 0]
    assert bright[-1, -1, 0] == 255
    nothing = np.full((3, 3), np.nan, np.float32)
    assert not decode(encoded(Image.fromarray(nothing), "TIFF"), stretch=True).any()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_deep_image_is_turned_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = turned(orientation)
    one = Image.fromarray(twelve_bits(stored[..., 0]))
    expected = gradient()[..., 0]
    bright = decode(encoded(one, kind, exif=exif), stretch=True)
    assert np.abs(bright[..., 0].astype(int) - expected).max() <= 2
    # Pillow writes no colours of 16 bits: the orientation is put into the file of OpenCV.
    if kind == "PNG":
        data = deep(twelve_bits(stored), ".png")
        body = exif.tobytes()[6:]
        data = data[:33] + _chunk(b"eXIf", body) + data[33:]
    else:
        data = _tiff_with_orientation(twelve_bits(stored), orientation)
    bright = decode(data, stretch=True)
    check(bright, 24, 40)
    assert np.abs(bright.astype(int) - gradient()).max() <= 2


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _tiff_with_orientation(array: NDArray[np.uint16], orientation: int) -> bytes:
    """An uncompressed TIFF of 16-bit colours, made tag by tag."""
    height, width = array.shape[:2]
    pixels = array.astype("<u2").tobytes()
    bits = 8 + len(pixels)
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 8), (274, 3, 1, orientation), (277, 3, 1, 3), (278, 3, 1, height),
        (279, 4, 1, len(pixels)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + b"\0\0\0\0"
    head = b"II*\0" + struct.pack("<I", bits + 6)
    return head + pixels + struct.pack("<3H", 16, 16, 16) + directory


def test_opacity_is_not_stretched() -> None:
    array = np.zeros((20, 30, 4), np.uint16)
    array[..., :3] = twelve_bits(gradient(20, 30))
    array[..., 3] = 65535
    array[:5, :, 3] = 0
    bright = decode(deep(array, ".png"), stretch=True)
    assert (bright[:5] == 255).all()
    assert np.abs(bright[5:].astype(int) - gradient(20, 30)[5:]).max() <= 2


def test_colours_that_opencv_does_not_read_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    data = deep(twelve_bits(gradient()), ".png")
    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
    decode(data)
    with pytest.raises(ImageError, match="cannot be stretched: save it as RGB"):
        decode(data, stretch=True)


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_a_deep_image_that_is_cut_short(ending: str) -> None:
    noise = np.random.default_rng(0).integers(0, 4096, (64, 64, 3), np.uint16)
    with pytest.raises(ImageError, match=r"damaged or cut short|known format"):
        decode(deep(noise, ending)[:-2000], stretch=True)


def test_the_pixel_cap_holds_for_deep_images() -> None:
    with pytest.raises(ImageError, match="more than 99 pixels"):
        decode(deep(twelve_bits(gradient()), ".png"), stretch=True, max_pixels=99)


def test_an_image_that_pillow_opened_is_stretched_too() -> None:
    data = deep(twelve_bits(grey()), ".png")
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(from_pillow(image, stretch=True), decode(data, stretch=True))


def black(data: bytes) -> bool:
    return looks_unstretched(data, decode(data))


def test_nearly_black_images_of_more_than_eight_bits_are_noticed() -> None:
    bits = twelve_bits(gradient(200, 300))
    hot = bits.copy()
    hot[3, 3] = 65535
    for array in (bits, hot, bits[..., 0]):
        for ending in (".png", ".tiff"):
            assert black(deep(array, ending))
    assert black(encoded(Image.fromarray(bits[..., 0].astype(np.int32)), "TIFF"))


def test_other_images_are_not_called_nearly_black() -> None:
    assert not black(deep(gradient().astype(np.uint16) * 257, ".png"))
    assert not black(deep((gradient().astype(np.uint16) * 64), ".png"))  # 14 bits: dim, but seen
    # A night photo of 8 bits is what it is.
    assert not black(encoded(Image.fromarray(gradient() // 32), "PNG"))
    assert not black(encoded(Image.fromarray(gradient() // 32), "JPEG"))
