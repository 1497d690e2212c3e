"""A GPU's way to resize and normalise gives the bits of the host's; here on torch's CPU."""

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.pixels import PixelPlan, make_pixels, make_pixels_on, tables_of
from grounded_labeler.models.runtime import device_pixels

pytestmark = pytest.mark.slow

TABLES = tables_of((124.0, 116.0, 104.0), (58.0, 57.0, 57.5))
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


def noise(height: int, width: int) -> RGBImage:
    """Values next to each other that are far apart, so that weights overshoot where they can."""
    return np.random.default_rng(height).choice(
        np.array([0, 3, 127, 255], np.uint8), (height, width, 3)
    )


def plan(
    *sizes_hw: tuple[int, int], resample: int = BILINEAR, canvas_hw: tuple[int, int] | None = None
) -> PixelPlan:
    return PixelPlan(sizes_hw, resample, TABLES, canvas_hw or sizes_hw[-1])


@pytest.mark.parametrize("resample", [BILINEAR, BICUBIC])
@pytest.mark.parametrize(
    ("size_hw", "larger_hw"),
    [
        pytest.param((48, 64), (80, 106), id="larger"),
        pytest.param((300, 400), (80, 106), id="smaller"),
        pytest.param((61, 200), (80, 31), id="narrower and higher"),
        pytest.param((64, 64), (64, 64), id="as it is"),
        pytest.param((1, 150), (3, 100), id="one row"),
        pytest.param((150, 1), (100, 2), id="one column"),
        pytest.param((1, 1), (5, 7), id="one pixel"),
        pytest.param((480, 640), (800, 1066), id="as published"),
    ],
)
def test_a_device_resizes_to_pillow_s_bits(
    size_hw: tuple[int, int], larger_hw: tuple[int, int], resample: int
) -> None:
    image = noise(*size_hw)
    rows_first = plan((size_hw[0], larger_hw[1]), larger_hw, resample=resample)
    expected = make_pixels(image, rows_first)
    found = device_pixels.make_pixels("cpu", image, rows_first)
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), expected)
    at_once = plan(larger_hw, resample=resample)
    np.testing.assert_array_equal(
        device_pixels.make_pixels("cpu", image, at_once).numpy(), expected
    )


def test_where_pillow_begins_with_columns_values_differ_by_one_step() -> None:
    image, small = noise(400, 300), plan((106, 200))
    # Each value is its own place in the table.
    steps = np.tile(np.arange(256, dtype=np.float32), (3, 1))
    small = PixelPlan(small.sizes_hw, small.resample, steps, small.canvas_hw)
    found = device_pixels.make_pixels("cpu", image, small).numpy()
    assert np.abs(found - make_pixels(image, small)).max() <= 1


def test_what_the_image_does_not_cover_is_zero() -> None:
    image = noise(20, 30)
    padded = plan((20, 30), canvas_hw=(24, 32))
    host, device = make_pixels(image, padded), device_pixels.make_pixels("cpu", image, padded)
    np.testing.assert_array_equal(device.numpy(), host)
    assert not host[:, 20:].any()
    assert not host[:, :, 30:].any()
    np.testing.assert_array_equal(host[:, :20, :30], make_pixels(image, plan((20, 30))))


def test_pixels_are_normalised_as_the_packages_do() -> None:
    image = noise(20, 30)
    mean, deviation = np.array([124, 116, 104], np.float32), np.array([58, 57, 57.5], np.float32)
    expected = ((image - mean) / deviation).transpose(2, 0, 1)
    np.testing.assert_array_equal(make_pixels(image, plan((20, 30))), expected)


@pytest.mark.parametrize("form", ["read-only", "backwards", "every other column"])
def test_an_image_may_lie_in_memory_in_any_way(form: str) -> None:
    image = noise(20, 60)
    if form == "read-only":
        image.setflags(write=False)
    else:
        image = image[::-1] if form == "backwards" else image[:, ::2]
    target = plan((20, 40), (40, 40))
    found = device_pixels.make_pixels("cpu", image, target)
    np.testing.assert_array_equal(found.numpy(), make_pixels(np.ascontiguousarray(image), target))


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices that something was made on, which torch's CPU stands in for."""
    used: list[str] = []
    make: Callable[..., torch.Tensor] = device_pixels.make_pixels

    def made(device: str, image: RGBImage, target: PixelPlan) -> torch.Tensor:
        used.append(device)
        if image[0, 0, 0] == 99:
            raise OutOfMemory("full")
        return make("cpu", image, target)

    monkeypatch.setattr(device_pixels, "make_pixels", made)
    return used


def test_a_cpu_makes_pixels_itself(devices: list[str]) -> None:
    assert isinstance(make_pixels_on("cpu", noise(20, 30), plan((10, 15))), np.ndarray)
    assert devices == []


def test_a_gpu_makes_what_it_can(devices: list[str]) -> None:
    found = make_pixels_on("cuda", noise(20, 30), plan((10, 15)))
    assert isinstance(found, torch.Tensor)
    assert devices == ["cuda"]
    lanczos = plan((10, 15), resample=Image.Resampling.LANCZOS)
    assert isinstance(make_pixels_on("cuda", noise(20, 30), lanczos), np.ndarray)
    huge = np.broadcast_to(np.uint8(7), (2**12 + 1, 2**12, 3))
    assert isinstance(make_pixels_on("cuda", huge, plan((10, 10))), np.ndarray)
    assert devices == ["cuda"]


def test_where_a_gpu_has_no_memory_the_host_makes_pixels(
    devices: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    image = np.full((20, 30, 3), 99, np.uint8)
    with caplog.at_level(logging.WARNING):
        found = make_pixels_on("cuda", image, plan((10, 15)))
    np.testing.assert_array_equal(found, make_pixels(image, plan((10, 15))))
    assert devices == ["cuda"]
    assert "resized on the host" in caplog.text
