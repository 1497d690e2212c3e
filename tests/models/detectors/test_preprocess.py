from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
from groundingdino.datasets import transforms
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import GroundingDinoImageProcessor
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.image_utils import SizeDict, get_image_size_for_max_height_width

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import WeightsError
from grounded_labeler.models.detectors.huggingface_images import prepare_with, preprocessing_of
from grounded_labeler.models.detectors.official import IMAGES
from grounded_labeler.models.detectors.preprocess import (
    MAX_ASPECT,
    Preprocessing,
    halve,
    max_aspect,
    pad_to_aspect,
    pad_to_patches,
    widened_hw,
)
from tests.models.detectors.small_models import noise

PUBLISHED = Preprocessing(
    "transformers", (800, 1333), Image.Resampling.BILINEAR, 1.0, (124, 116, 104), (58, 57, 57)
)


@pytest.mark.parametrize(
    ("size_hw", "expected_hw"),
    [
        ((1, 1), (1, 1)),
        ((100, 1600), (100, 1600)),
        ((99, 1600), (100, 1600)),
        ((1, 40), (3, 40)),
        ((3000, 1), (3000, 188)),
    ],
)
def test_strips_are_widened(size_hw: tuple[int, int], expected_hw: tuple[int, int]) -> None:
    strip = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    wide = pad_to_aspect(strip)
    assert wide.shape == (*expected_hw, 3)
    assert (wide[: size_hw[0], : size_hw[1]] == strip).all()


def test_what_is_added_to_a_strip_is_the_mean_colour() -> None:
    wide = pad_to_aspect(np.zeros((1, 40, 3), np.uint8))
    assert (wide[1:] == (124, 116, 104)).all()


def test_other_images_come_back_as_they_are() -> None:
    image = np.zeros((30, 400, 3), np.uint8)
    assert pad_to_aspect(image) is image


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_widened_size_is_within_the_aspect_and_as_small_as_that_allows(
    height: int, width: int
) -> None:
    wide_hw = widened_hw((height, width))
    assert wide_hw == pad_to_aspect(np.zeros((height, width, 3), np.uint8)).shape[:2]
    short, long = sorted(wide_hw)
    assert long == max(height, width)
    assert short * MAX_ASPECT >= long
    assert short == min(height, width) or (short - 1) * MAX_ASPECT < long


@pytest.mark.parametrize(
    ("longest", "queries", "cell_side", "expected"),
    [
        pytest.param(1333, 900, 8, MAX_ASPECT, id="as published"),
        pytest.param(480, 900, 8, 4, id="few pixels"),
        pytest.param(480, 900, 4, MAX_ASPECT, id="few pixels, small cells"),
        pytest.param(240, 900, 4, 4, id="fewer pixels, small cells"),
        pytest.param(160, 20, 8, MAX_ASPECT, id="few boxes"),
    ],
)
def test_a_model_that_proposes_many_boxes_of_few_pixels_bears_less_of_a_strip(
    longest: int, queries: int, cell_side: int, expected: float
) -> None:
    assert max_aspect(longest, queries, cell_side) == expected
    wide_hw = widened_hw((1, 1600), expected)
    assert wide_hw == (1600 / expected, 1600)
    assert pad_to_aspect(np.zeros((1, 1600, 3), np.uint8), expected).shape[:2] == wide_hw
    cells = (longest / expected / cell_side) * (longest / cell_side)
    assert cells >= queries


@pytest.mark.parametrize("size_hw", [(6, 8), (7, 9), (2, 2), (3, 200)])
def test_a_half_has_half_the_pixels_and_the_same_mean(size_hw: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).normal(0, 1, (3, *size_hw)).astype(np.float32)
    half = halve(pixels)
    assert half.shape == (3, size_hw[0] // 2, size_hw[1] // 2)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half.mean(axis=(1, 2)), pixels.mean(axis=(1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("size_hw", "expected_hw"), [((8, 12), (8, 12)), ((9, 11), (12, 12)), ((1, 1), (4, 4))]
)
def test_patches_are_filled_up_at_the_right_and_bottom(
    size_hw: tuple[int, int], expected_hw: tuple[int, int]
) -> None:
    pixels = np.ones((2, 3, *size_hw), np.float32)
    padded = pad_to_patches(pixels)
    assert padded.shape == (2, 3, *expected_hw)
    assert padded.dtype == np.float32
    assert (padded[:, :, : size_hw[0], : size_hw[1]] == 1).all()
    assert padded.sum() == pixels.sum()


@pytest.mark.parametrize(("short", "long"), [(800, 1333), (160, 266), (480, 799), (1, 1)])
def test_the_long_side_keeps_the_published_models_ratio(short: int, long: int) -> None:
    assert PUBLISHED.with_short_side(short).size == (short, long)


SIZES = st.tuples(st.integers(1, 5000), st.integers(1, 5000)).filter(
    lambda size: max(size) <= MAX_ASPECT * min(size)
)
SHORT_SIDES = st.sampled_from([800, 480, 160, 97])


@given(SIZES, SHORT_SIDES)
def test_sizes_are_those_of_transformers(size_hw: tuple[int, int], short: int) -> None:
    images = PUBLISHED.with_short_side(short)
    assert images.resized_hw(size_hw) == get_size_with_aspect_ratio(size_hw, *images.size)
    within = replace(images, fit="within")
    assert within.resized_hw(size_hw) == get_image_size_for_max_height_width(size_hw, *images.size)
    assert replace(images, fit="exact").resized_hw(size_hw) == images.size


@given(SIZES, SHORT_SIDES)
def test_sizes_are_those_of_the_package(size_hw: tuple[int, int], short: int) -> None:
    images = replace(PUBLISHED, fit="groundingdino").with_short_side(short)
    image = SimpleNamespace(size=size_hw[::-1])

    def resized(_: object, size_hw: tuple[int, int]) -> SimpleNamespace:
        return SimpleNamespace(size=size_hw[::-1])

    with mock.patch.object(transforms.F, "resize", resized):
        theirs, _ = transforms.resize(image, None, *images.size)
    assert images.resized_hw(size_hw) == theirs.size[::-1]


SHAPES = [(60, 80), (640, 420), (97, 500), (500, 97), (800, 800), (1200, 1600)]


@pytest.mark.parametrize("size_hw", SHAPES)
def test_the_package_makes_the_very_same_of_an_image(size_hw: tuple[int, int]) -> None:
    theirs = transforms.Compose(
        [
            transforms.RandomResize([IMAGES.size[0]], max_size=IMAGES.size[1]),
            transforms.ToTensor(),
            transforms.Normalize(IMAGES.mean, IMAGES.deviation),
        ]
    )
    image = noise(*size_hw)
    expected, _ = theirs(Image.fromarray(image), None)
    np.testing.assert_array_equal(IMAGES.prepare(image), expected.numpy())


CONFIGS: dict[str, dict[str, Any]] = {
    "published": {},
    "exact": {"size": {"height": 96, "width": 128}},
    "within": {"size": {"max_height": 96, "max_width": 128}},
    "bicubic": {"resample": 3, "size": {"shortest_edge": 96, "longest_edge": 160}},
    "not rescaled": {"do_rescale": False, "size": {"shortest_edge": 96, "longest_edge": 160}},
    "not normalised": {"do_normalize": False, "size": {"shortest_edge": 96, "longest_edge": 160}},
    "neither": {"do_rescale": False, "do_normalize": False},
    "another factor": {"rescale_factor": 1 / 127.5, "image_mean": 1.0, "image_std": 0.5},
}


@pytest.mark.parametrize("config", CONFIGS)
def test_transformers_makes_nearly_the_same_of_an_image(config: str) -> None:
    """Torchvision rounds a few values of a resized image otherwise, by 1 of 255."""
    processor = GroundingDinoImageProcessor(**CONFIGS[config])
    images = preprocessing_of(processor, Path("folder"))
    step = 1 / (np.array(images.deviation)[:, None, None] * images.divisor)
    for size_hw in SHAPES:
        image = smooth(*size_hw)
        off = np.abs(images.prepare(image) - prepare_with(processor, image)) / step
        assert off.max() < 1.01
        assert (off > 0.01).mean() < 0.01, size_hw


def smooth(height: int, width: int) -> RGBImage:
    """Noise without its finest detail, as in a photo."""
    return np.asarray(cv2.GaussianBlur(noise(height, width), (0, 0), 2), np.uint8)


@pytest.mark.parametrize(
    "config",
    [
        {"do_resize": False},
        {"pad_size": {"height": 1400, "width": 1400}},
        {"size": {"shortest_edge": 800, "longest_edge": None}},
        {"image_mean": [0.5, 0.5]},
    ],
    ids=["not resized", "padded", "no longest edge", "two channels"],
)
def test_what_cannot_be_done_is_refused(config: dict[str, Any]) -> None:
    processor = GroundingDinoImageProcessor()
    for name, value in config.items():
        setattr(processor, name, SizeDict(**value) if isinstance(value, dict) else value)
    with pytest.raises(WeightsError, match=r"folder prepares images in a way") as caught:
        preprocessing_of(processor, Path("folder"))
    assert "\n" not in str(caught.value)
