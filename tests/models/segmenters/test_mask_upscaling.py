"""Any part of the image computed alone is what the models' own postprocessing has there."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import Sam2ImageProcessor

from grounded_labeler.core.masks import Mask
from grounded_labeler.models.segmenters.mask_upscaling import Upscaler
from tests.models.segmenters.sam_predictor import ROUNDING

pytestmark = pytest.mark.slow

# The side of the model's square, None where there is no step between grid and image, and the
# cells along it.
PUBLISHED, DEMO, UNEVEN = (1024, 256), (192, 96), (130, 31)
SAM2, UNEVEN_SAM2 = (None, 256), (None, 31)
ALL = [PUBLISHED, DEMO, UNEVEN, SAM2, UNEVEN_SAM2]


def input_hw(side: int, size_hw: tuple[int, int]) -> tuple[int, int]:
    height, width = ResizeLongestSide.get_preprocess_shape(*size_hw, side)
    return max(1, height), max(1, width)


def upscaled(
    logits: Tensor, side: int | None, size_hw: tuple[int, int], threshold: float = 0.0
) -> list[Mask]:
    grid_hw = (logits.shape[1], logits.shape[2])
    if side is None:
        upscaler = Upscaler.direct(grid_hw, size_hw)
    else:
        seen_hw = input_hw(side, size_hw)
        upscaler = Upscaler.through_square(grid_hw, side, seen_hw, size_hw)
    return upscaler.masks(logits.numpy(), threshold)


def by_model(logits: Tensor, side: int | None, size_hw: tuple[int, int]) -> Tensor:
    """The logits at the image's size, float32 (N, H, W), as SAM or SAM 2 itself makes them."""
    if side is None:
        processor = Sam2ImageProcessor()
        [whole] = processor.post_process_masks([logits[:, None]], [size_hw], binarize=False)
        return torch.as_tensor(whole[:, 0])
    model = SimpleNamespace(image_encoder=SimpleNamespace(img_size=side))
    answer: Tensor = Sam.postprocess_masks(model, logits[:, None], input_hw(side, size_hw), size_hw)
    return answer[:, 0]


def check(
    logits: Tensor, side: int | None, size_hw: tuple[int, int], threshold: float = 0.0
) -> list[Mask]:
    """The masks, in which every pixel is as the model has it, but where rounding may decide."""
    masks = upscaled(logits, side, size_hw, threshold)
    for mask, whole in zip(masks, by_model(logits, side, size_hw), strict=True):
        close = (abs(whole - threshold) < ROUNDING * abs(logits).max()).numpy()
        assert close.mean() < 1e-3, "what is close to the threshold is not compared"
        np.testing.assert_array_equal(mask.full() | close, (whole > threshold).numpy() | close)
    return masks


def blobs(cells: int, count: int, along: int) -> Tensor:
    """`count` grids of noise with about `along` blobs along each side."""
    generator = torch.Generator().manual_seed(along)
    coarse = 5 * torch.randn((count, 1, along, along), generator=generator)
    return interpolate(coarse, (cells, cells), mode="bilinear", align_corners=False)[:, 0]


def one_cell(cells: int, *places: tuple[int, int]) -> Tensor:
    """For each place, row and column, a grid that is above 0 in that cell alone."""
    grids = torch.full((len(places), cells, cells), -1.0)
    for grid, (row, column) in zip(grids, places, strict=True):
        grid[row, column] = 3.7
    return grids


SIZES = [
    pytest.param((480, 640), id="smaller than the model's square"),
    pytest.param((1200, 900), id="larger, in several blocks"),
    pytest.param((1024, 1024), id="as large"),
    pytest.param((300, 11), id="tall"),
    pytest.param((7, 2500), id="wide"),
    pytest.param((1, 1500), id="one row, thinner than the model can show"),
    pytest.param((1500, 1), id="one column"),
    pytest.param((1, 1), id="one pixel"),
]


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize(("side", "cells"), ALL)
def test_noise_is_cut_where_the_model_cuts_it(
    side: int | None, cells: int, size_hw: tuple[int, int]
) -> None:
    for along in (3, cells):
        check(blobs(cells, 2, along), side, size_hw)


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize(("side", "cells"), ALL)
def test_one_cell_anywhere_is_drawn_as_by_model(
    side: int, cells: int, size_hw: tuple[int, int]
) -> None:
    # The last rows or columns lie in the padding of all but the square image, and
    # a small image has pixels for some cells only.
    last, middle = cells - 1, cells // 2
    places = [(0, 0), (0, last), (last, 0), (last, last), (middle, middle), (1, 2), (3, 0), (0, 5)]
    check(one_cell(cells, *places), side, size_hw)


@pytest.mark.parametrize(("side", "cells"), [PUBLISHED, SAM2])
def test_twelve_megapixels(side: int | None, cells: int) -> None:
    [mask] = check(blobs(cells, 1, 20), side, (3000, 4000))
    assert 0.2 < mask.full().mean() < 0.8


@pytest.mark.parametrize("threshold", [-2.0, 2.0])
def test_another_threshold(threshold: float) -> None:
    side, cells = PUBLISHED
    check(blobs(cells, 2, 9), side, (480, 640), threshold)


def test_nothing_above_the_threshold_is_an_empty_mask_and_all_is_a_full_one() -> None:
    side, cells = DEMO
    nothing, everything = upscaled(
        torch.stack([torch.zeros(cells, cells), torch.ones(cells, cells)]), side, (90, 160)
    )
    assert nothing.crop.nbytes == 0
    assert everything.crop.shape == (90, 160)
    assert everything.crop.all()
    assert nothing.size_hw == everything.size_hw == (90, 160)


def test_no_grids_are_no_masks() -> None:
    side, cells = DEMO
    assert upscaled(torch.zeros(0, cells, cells), side, (90, 160)) == []


def test_cells_far_from_the_object_are_not_computed_with() -> None:
    side, cells = PUBLISHED
    size_hw = (3000, 4000)
    grid = one_cell(cells, (100, 60))
    [expected] = upscaled(grid, side, size_hw)
    far = torch.full((1, cells, cells), torch.nan)
    far[:, 95:106, 55:66] = grid[:, 95:106, 55:66]
    [mask] = upscaled(far, side, size_hw)  # whatever is mixed with NaN is not above 0
    assert mask.any()
    np.testing.assert_array_equal(mask.full(), expected.full())


@pytest.mark.parametrize(("side", "cells"), [UNEVEN, UNEVEN_SAM2])
def test_of_an_endless_strip_several_pixels_share_one_decision(
    side: int | None, cells: int
) -> None:
    length = 150_000
    logits = blobs(cells, 2, cells)
    for size_hw in [(2, length), (length, 2)]:
        masks = upscaled(logits, side, size_hw)
        for mask, whole in zip(masks, by_model(logits, side, size_hw), strict=True):
            assert mask.size_hw == size_hw
            full, expected = mask.full(), (whole > 0).numpy()
            assert 0.1 < expected.mean() < 0.9
            assert (full != expected).mean() < 1e-3
            # 65,536 decisions: each begins at one of these pixels.
            begins = np.ceil(np.arange(2**16) * length / 2**16)
            line = full[0] if size_hw[1] == length else full[:, 0]
            assert np.isin(np.flatnonzero(np.diff(line)) + 1, begins).all()
