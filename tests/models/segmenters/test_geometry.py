"""Where an image lies in a model's square, and what resizing makes of its pixels."""

import numpy as np
import pytest
import torch
from segment_anything.utils.transforms import ResizeLongestSide
from torchvision.transforms.v2 import functional

from grounded_labeler.models.segmenters.facts import SegmenterFacts
from grounded_labeler.models.segmenters.geometry import PaddedSquare, SquashedSquare
from tests.models.segmenters.resizing import resized
from tests.models.segmenters.test_sam import LARGE, SQUARE, TALL, WIDE, random_image

pytestmark = pytest.mark.slow

SIZES = [WIDE, TALL, SQUARE, LARGE, (480, 640), (1, 1500), (1, 1), (3000, 4000)]


@pytest.mark.parametrize("side", [128, 192, 1024])
def test_a_padded_image_is_as_large_as_segment_anything_has_it(side: int) -> None:
    rng = np.random.default_rng(side)
    for size in [*SIZES, *rng.integers(1, 9000, (500, 2)).tolist()]:
        height, width = ResizeLongestSide.get_preprocess_shape(*size, side)
        assert PaddedSquare(side).input_hw(tuple(size)) == (max(1, height), max(1, width)), size


def test_a_squashed_image_fills_the_square() -> None:
    assert SquashedSquare(128).input_hw(WIDE) == (128, 128)


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize("side", [128, 1024])
def test_few_resized_values_differ_from_torchvision_s_and_by_one(
    size_hw: tuple[int, int], side: int
) -> None:
    image = random_image(size_hw)
    pixels = torch.tensor(image).permute(2, 0, 1)
    theirs = functional.resize(pixels, [side, side], antialias=True).permute(1, 2, 0).numpy()
    differences = np.abs(resized(SquashedSquare(side), image).astype(int) - theirs)
    assert differences.max() <= 1
    assert differences.mean() < 0.01


def test_resizing_to_the_same_size_changes_nothing() -> None:
    image = random_image(SQUARE)
    for geometry in (PaddedSquare(128), SquashedSquare(128)):
        np.testing.assert_array_equal(resized(geometry, image), image)


@pytest.mark.parametrize("size_hw", [WIDE, TALL, SQUARE, LARGE, (10, 1500), (3000, 4000)])
def test_a_padded_image_has_the_values_that_sam_predictor_gives_it(
    size_hw: tuple[int, int],
) -> None:
    image = random_image(size_hw)
    expected = ResizeLongestSide(128).apply_image(image)
    np.testing.assert_array_equal(resized(PaddedSquare(128), image), expected)


@pytest.mark.parametrize(("fit", "kind"), [("padded", PaddedSquare), ("squashed", SquashedSquare)])
def test_facts_name_the_geometry(fit: str, kind: type) -> None:
    facts = SegmenterFacts(fit, 128, (0.0,) * 3, (1.0,) * 3, (32, 32))  # type: ignore[arg-type]
    assert isinstance(facts.geometry, kind)
    assert facts.geometry.side == 128
