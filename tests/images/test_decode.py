import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import ImageError
from grounded_labeler.images.decode import decode, displayed_size, from_pillow

ORIENTATION = 0x0112
CASES = Path(__file__).parents[1] / "data" / "cases"


def gradient(height: int = 24, width: int = 40) -> RGBImage:
    """A smooth image whose corners all differ, so that no rotation of it looks alike."""
    across = np.linspace(0, 255, width)[np.newaxis, :].repeat(height, axis=0)
    down = np.linspace(0, 255, height)[:, np.newaxis].repeat(width, axis=1)
    return np.stack([across, down, 255 - across], axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def check(image: RGBImage, height: int, width: int) -> None:
    """That it is an image of this size, as `decode` promises them."""
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable


Options = dict[str, dict[str, Any]]
LOSSLESS: Options = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
}
LOSSY: Options = {
    "JPEG": {"quality": 95},
    "AVIF": {"quality": 95},
    "GIF": {},
    "MPO": {"quality": 95},
}


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_formats(kind: str) -> None:
    expected = gradient()
    options = LOSSLESS.get(kind) or LOSSY.get(kind) or {}
    image = decode(encoded(Image.fromarray(expected), kind, **options))
    check(image, 24, 40)
    difference = np.abs(image.astype(int) - expected).mean()
    assert difference == 0 if kind in LOSSLESS else difference < 12


@pytest.mark.parametrize("kind", ["PPM", "PDF", "ICO", "TGA", "JPEG2000", "ICNS", "PCX"])
def test_other_formats_are_refused(kind: str) -> None:
    image = Image.fromarray(gradient(32, 32))
    with pytest.raises(ImageError, match=r"known format|PDF"):
        decode(encoded(image, kind))


def red(mode: str) -> Image.Image:
    return Image.new("RGB", (5, 3), (255, 0, 0)).convert(mode)


@pytest.mark.parametrize(
    ("image", "kind", "colour"),
    [
        (red("RGB"), "PNG", (255, 0, 0)),
        (red("P"), "PNG", (255, 0, 0)),
        (red("CMYK"), "TIFF", (255, 0, 0)),
        (red("CMYK"), "JPEG", (255, 0, 0)),
        (red("YCbCr"), "JPEG", (255, 0, 0)),
        (red("L"), "PNG", (76, 76, 76)),
        (Image.new("1", (5, 3), 1), "PNG", (255, 255, 255)),
        (Image.new("1", (5, 3), 0), "TIFF", (0, 0, 0)),
        (Image.new("LA", (5, 3), (0, 0)), "PNG", (255, 255, 255)),
        (Image.new("LA", (5, 3), (0, 255)), "PNG", (0, 0, 0)),
        (Image.new("RGBA", (5, 3), (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (5, 3), (255, 0, 0, 255)), "WEBP", (255, 0, 0)),
        (Image.new("RGBA", (5, 3), (0, 0, 0, 128)), "PNG", (127, 127, 127)),
        (Image.new("I;16", (5, 3), 65535), "PNG", (255, 255, 255)),
        (Image.new("I;16", (5, 3), 0x8000), "PNG", (128, 128, 128)),
        (Image.new("I;16", (5, 3), 0x0100), "TIFF", (1, 1, 1)),
        (Image.new("I;16B", (5, 3), 0x8000), "TIFF", (128, 128, 128)),
        (Image.new("I", (5, 3), 65535), "TIFF", (255, 255, 255)),
        (Image.new("F", (5, 3), 1.0), "TIFF", (255, 255, 255)),
        (Image.new("F", (5, 3), 200.0), "TIFF", (200, 200, 200)),
        (Image.new("F", (5, 3), float("nan")), "TIFF", (0, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_modes(image: Image.Image, kind: str, colour: tuple[int, int, int]) -> None:
    decoded = decode(encoded(image, kind))
    check(decoded, 3, 5)
    assert np.abs(decoded.astype(int) - colour).max() <= 2


@pytest.mark.parametrize(
    ("mode", "transparency"), [("P", 0), ("P", b"\x00\xff"), ("L", 0), ("RGB", (0, 0, 0))]
)
def test_one_transparent_colour(mode: str, transparency: object) -> None:
    image = Image.new(mode, (2, 1))
    if mode == "P":
        image.putpalette([0, 0, 0, 9, 9, 9])
    image.putpixel((1, 0), (9, 9, 9) if mode == "RGB" else 1 if mode == "P" else 9)
    decoded = decode(encoded(image, "PNG", transparency=transparency))
    assert decoded.tolist() == [[[255, 255, 255], [9, 9, 9]]]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_of_no_known_range_are_stretched(mode: str) -> None:
    image = Image.new(mode, (3, 1))
    for x, value in enumerate([-1000, 0, 1000]):
        image.putpixel((x, 0), value)
    assert decode(encoded(image, "TIFF"))[0, :, 0].tolist() == [0, 127, 255]


def test_sixteen_bit_colours() -> None:
    rows = b"\x00" + struct.pack(">6H", 0xFFFF, 0x8000, 0, 0, 0x0100, 0xFFFF)

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert decode(data).tolist() == [[[255, 128, 0], [0, 1, 255]]]


# Where the top left, top right and bottom left corners of the upright image lie in
# the stored one, as (row, column) with -1 for last: EXIF 2.32, table 4.6.4-A.
CORNERS = {
    1: ((0, 0), (0, -1), (-1, 0)),
    2: ((0, -1), (0, 0), (-1, -1)),
    3: ((-1, -1), (-1, 0), (0, -1)),
    4: ((-1, 0), (-1, -1), (0, 0)),
    5: ((0, 0), (-1, 0), (0, -1)),
    6: ((-1, 0), (0, 0), (-1, -1)),
    7: ((-1, -1), (0, -1), (-1, 0)),
    8: ((0, -1), (-1, -1), (0, 0)),
}


def turned(orientation: int) -> RGBImage:
    """The gradient as a camera that writes `orientation` stores it."""
    stored = gradient()
    undo: dict[int, Callable[[RGBImage], RGBImage]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(undo[orientation](stored))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_exif_orientation(kind: str, orientation: int) -> None:
    stored, upright = turned(orientation), gradient()
    for (row, column), corner in zip(
        CORNERS[orientation], (upright[0, 0], upright[0, -1], upright[-1, 0]), strict=True
    ):
        assert np.array_equal(stored[row, column], corner)  # the test's own table is right
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {**LOSSLESS, **LOSSY}[kind]
    data = encoded(Image.fromarray(stored), kind, exif=exif, **options)
    image = decode(data)
    check(image, 24, 40)
    assert displayed_size(data) == (40, 24)
    assert np.abs(image.astype(int) - upright).mean() < 6


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"x"])
def test_damaged_exif_leaves_the_image_as_stored(exif: bytes) -> None:
    check(decode(encoded(Image.fromarray(gradient()), "JPEG", exif=exif)), 24, 40)


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def with_xmp(kind: str) -> bytes:
    image = Image.fromarray(gradient())
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        return encoded(image, kind, pnginfo=text)
    if kind == "TIFF":
        return encoded(image, kind, tiffinfo={700: XMP})
    return encoded(image, kind, xmp=XMP)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_orientation_in_xmp_alone_is_not_looked_at(kind: str) -> None:
    data = with_xmp(kind)
    assert XMP in data
    check(decode(data), 24, 40)
    assert displayed_size(data) == (40, 24)


def png_with(*chunks: tuple[bytes, bytes], after_the_pixels: bool) -> bytes:
    """The gradient, with these chunks right after its header or after its pixels."""
    plain = encoded(Image.fromarray(gradient()), "PNG")
    place = plain.index(b"IEND") - 4 if after_the_pixels else plain.index(b"IDAT") - 4
    made = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return plain[:place] + made + plain[place:]


@pytest.mark.parametrize("after_the_pixels", [False, True])
def test_exif_of_a_png_wherever_it_stands(after_the_pixels: bool) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = png_with((b"eXIf", exif.tobytes()[6:]), after_the_pixels=after_the_pixels)
    check(decode(data), 40, 24)
    assert displayed_size(data) == (24, 40)


@pytest.mark.parametrize("after_the_pixels", [False, True])
def test_exif_in_a_text_of_a_png_is_not_looked_at(after_the_pixels: bool) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    profile = f"\nexif\n{len(exif.tobytes()):8}\n{exif.tobytes().hex()}\n".encode()
    text = b"Raw profile type exif\0\0" + zlib.compress(profile)
    data = png_with((b"zTXt", text), after_the_pixels=after_the_pixels)
    check(decode(data), 24, 40)
    assert displayed_size(data) == (40, 24)


@pytest.mark.parametrize(
    ("name", "size_wh"),
    [("oriented6.tif", (200, 300)), ("xmp6.jpg", (300, 200)), ("no-eoi.jpg", (640, 480))],
)
def test_files_of_strangers(name: str, size_wh: tuple[int, int]) -> None:
    data = (CASES / name).read_bytes()
    width, height = size_wh
    check(decode(data), height, width)
    assert displayed_size(data) == size_wh


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"GIF89a", "known format"), (b"<html>", "web page")],
)
def test_what_is_no_image_has_no_size(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        displayed_size(data)


def test_the_size_is_capped_too() -> None:
    with pytest.raises(ImageError, match="more than 99 pixels"):
        displayed_size(encoded(Image.new("RGB", (10, 10)), "PNG"), max_pixels=99)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (5, 3), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": kind == "WEBP"}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (decode(data) == (255, 0, 0)).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3000, 2), (2, 3000)])
def test_extreme_shapes(height: int, width: int) -> None:
    check(decode(encoded(Image.new("RGB", (width, height)), "PNG")), height, width)


def claiming(width: int, height: int) -> bytes:
    """A PNG that says it is this large, with almost no pixels in it."""
    data = bytearray(encoded(Image.new("L", (8, 8)), "PNG"))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


@pytest.mark.parametrize("size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (9_500, 10_527)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pixel_cap_comes_before_decoding(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="more than 100,000,000 pixels"):
        decode(claiming(*size))


def test_pixel_cap_is_inclusive() -> None:
    data = encoded(Image.new("RGB", (10, 10)), "PNG")
    check(decode(data, max_pixels=100), 10, 10)
    with pytest.raises(ImageError, match="more than 99 pixels"):
        decode(data, max_pixels=99)


def test_no_size() -> None:
    with pytest.raises(ImageError):
        decode(claiming(0, 8))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b'{"detail": "Authentication credentials were not provided."}', "JSON"),
        (b'<?xml version="1.0"?><svg xmlns="">', "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"not an image at all", "known format"),
        (b"\x89PNG\r\n\x1a\n", "known format"),
    ],
)
def test_something_else(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_cut_short(kind: str) -> None:
    data = encoded(Image.fromarray(gradient(64, 64)), kind, **{**LOSSLESS, **LOSSY}[kind])
    with pytest.raises(ImageError):
        decode(data[: len(data) // 2])


def test_threads() -> None:
    data = [encoded(Image.fromarray(gradient(20 + n, 30)), "PNG") for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        for number, image in enumerate(pool.map(decode, data)):
            check(image, 20 + number, 30)


def small_files() -> list[bytes]:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "b")
    image = Image.fromarray(gradient(12, 16))
    frames = {"save_all": True, "append_images": [image.rotate(90)]}
    files = [
        encoded(image, kind, **{**LOSSLESS, **LOSSY}[kind], exif=exif)
        for kind in ("JPEG", "PNG", "WEBP", "AVIF", "MPO")
    ]
    return [
        *files,
        encoded(image, "BMP"),
        encoded(image.convert("P"), "BMP"),
        encoded(image, "GIF", **frames),
        encoded(image, "WEBP", **frames),
        encoded(image.convert("P"), "PNG", transparency=0, pnginfo=text),
        *[encoded(image, "TIFF", compression=name) for name in ("raw", "tiff_lzw", "jpeg")],
        encoded(image.convert("1"), "TIFF", compression="group4"),
        encoded(image.convert("F"), "TIFF"),
        encoded(image.convert("I;16"), "TIFF", compression="tiff_adobe_deflate"),
    ]


@pytest.mark.parametrize("name", ["oriented6.tif", "xmp6.jpg", "racket.png"])
def test_an_image_that_pillow_opened_is_as_its_file(name: str) -> None:
    data = (CASES / name).read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(from_pillow(image), decode(data))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_an_image_that_pillow_opened_is_turned_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(Image.fromarray(gradient()), kind, exif=exif)
    for loaded in (False, True):
        with Image.open(io.BytesIO(data)) as image:
            if loaded:
                image.load()
            before = dict(image.info)
            assert np.array_equal(from_pillow(image), decode(data))
            assert image.info | before == image.info


def test_an_image_that_pillow_opened_may_be_damaged_or_too_large() -> None:
    with pytest.raises(ImageError, match="more than 10 pixels"):
        from_pillow(Image.new("L", (11, 1)), max_pixels=10)
    cut = encoded(Image.effect_noise((64, 64), 50), "PNG")[:-200]
    image = Image.open(io.BytesIO(cut))
    with pytest.raises(ImageError, match="damaged or cut short"):
        from_pillow(image)


ROOT = Path(__file__).parents[2]
FILES = small_files()
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


def image_or_image_error(data: bytes) -> None:
    try:
        image = decode(data, max_pixels=1_000_000)
    except ImageError:
        return
    check(image, *image.shape[:2])


@FUZZ
@given(st.binary(max_size=200), st.sampled_from([b"", *(file[:24] for file in FILES)]))
@pytest.mark.filterwarnings("ignore")
def test_random_bytes(data: bytes, start: bytes) -> None:
    image_or_image_error(start + data)


@FUZZ
@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 2000),
)
@pytest.mark.filterwarnings("ignore")
def test_mutated_files(file: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(file)
    for place, value in changes:
        data[place % len(data)] = value
    image_or_image_error(bytes(data[: cut or None]))


def test_no_mutated_file_takes_the_process_down_or_more_memory_than_the_cap(
    tmp_path: Path,
) -> None:
    for number, file in enumerate(FILES):
        (tmp_path / f"{number:02}").write_bytes(file)
    rounds, max_pixels = 400, 1_000_000
    command = [
        sys.executable,
        "-m",
        "tests.helpers.mutate",
        str(tmp_path),
        str(rounds),
        str(max_pixels),
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    decoded, refused, growth = map(int, ran.stdout.split())
    assert decoded > 0
    assert refused > rounds
    # Floats take most: as stored, as float64, and three of these while they are stretched.
    assert growth < 48 * max_pixels, f"{growth:,} bytes"
