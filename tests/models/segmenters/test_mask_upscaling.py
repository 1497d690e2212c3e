"""Any part of the image computed alone is what the models' own postprocessing has there."""

from itertools import product
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
from grounded_labeler.models.segmenters import mask_upscaling
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
    logits: Tensor,
    side: int | None,
    size_hw: tuple[int, int],
    threshold: float = 0.0,
    *,
    on_device: bool = False,
) -> list[Mask]:
    """The masks as the host makes them, or as a GPU does: here on torch's CPU."""
    grid_hw = (logits.shape[1], logits.shape[2])
    if side is None:
        upscaler = Upscaler.direct(grid_hw, size_hw)
    else:
        seen_hw = input_hw(side, size_hw)
        upscaler = Upscaler.through_square(grid_hw, side, seen_hw, size_hw)
    return upscaler.masks(logits if on_device else logits.numpy(), threshold)


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
    on_device = upscaled(logits, side, size_hw, threshold, on_device=True)
    whole_masks = by_model(logits, side, size_hw)
    for mask, other, whole in zip(masks, on_device, whole_masks, strict=True):
        close = (abs(whole - threshold) < ROUNDING * abs(logits).max()).numpy()
        assert close.mean() < 1e-3, "what is close to the threshold is not compared"
        expected = (whole > threshold).numpy() | close
        np.testing.assert_array_equal(mask.full() | close, expected)
        np.testing.assert_array_equal(other.full() | close, expected)
        assert (mask.full() ^ other.full()).sum() <= 1e-3 * max(mask.full().sum(), 1000)
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


@pytest.mark.parametrize("on_device", [False, True])
def test_nothing_above_the_threshold_is_an_empty_mask_and_all_is_a_full_one(
    *, on_device: bool
) -> None:
    side, cells = DEMO
    logits = torch.stack([torch.zeros(cells, cells), torch.ones(cells, cells)])
    nothing, everything = upscaled(logits, side, (90, 160), on_device=on_device)
    assert nothing.crop.nbytes == 0
    assert everything.crop.shape == (90, 160)
    assert everything.crop.all()
    assert nothing.size_hw == everything.size_hw == (90, 160)


@pytest.mark.parametrize("on_device", [False, True])
def test_no_grids_are_no_masks(*, on_device: bool) -> None:
    side, cells = DEMO
    assert upscaled(torch.zeros(0, cells, cells), side, (90, 160), on_device=on_device) == []


@pytest.mark.parametrize(("side", "cells"), [DEMO, SAM2])
def test_a_device_makes_large_masks_in_pieces(
    side: int | None, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece of one row at least, and none with more values than that."""
    logits, size_hw = blobs(cells, 3, 9), (300, 400)
    whole = upscaled(logits, side, size_hw, on_device=True)
    products: list[int] = []
    matmul = Tensor.__matmul__

    def counted(one: Tensor, other: Tensor) -> Tensor:
        product: Tensor = matmul(one, other)
        products.append(product.numel())
        return product

    monkeypatch.setattr(Tensor, "__matmul__", counted)
    for most in (1, 5000):
        monkeypatch.setattr(mask_upscaling, "_VALUES_ON_DEVICE", most)
        products.clear()
        masks = upscaled(logits, side, size_hw, on_device=True)
        assert max(products) <= max(most, cells * size_hw[1])
        for mask, expected in zip(masks, whole, strict=True):
            assert (mask.full() ^ expected.full()).sum() <= 1e-3 * expected.full().sum()


def test_cells_far_from_the_object_are_not_computed_with_on_the_host() -> None:
    side, cells = PUBLISHED
    size_hw = (3000, 4000)
    grid = one_cell(cells, (100, 60))
    [expected] = upscaled(grid, side, size_hw)
    far = torch.full((1, cells, cells), torch.nan)
    far[:, 95:106, 55:66] = grid[:, 95:106, 55:66]
    # Whatever is mixed with NaN is not above 0.
    [mask] = upscaled(far, side, size_hw)
    assert mask.any()
    np.testing.assert_array_equal(mask.full(), expected.full())


@pytest.mark.parametrize(("side", "cells"), [UNEVEN, UNEVEN_SAM2])
def test_of_an_endless_strip_several_pixels_share_one_decision(
    side: int | None, cells: int
) -> None:
    length = 150_000
    logits = blobs(cells, 2, cells)
    for size_hw, on_device in product([(2, length), (length, 2)], [False, True]):
        masks = upscaled(logits, side, size_hw, on_device=on_device)
        for mask, whole in zip(masks, by_model(logits, side, size_hw), strict=True):
            assert mask.size_hw == size_hw
            full, expected = mask.full(), (whole > 0).numpy()
            assert 0.1 < expected.mean() < 0.9
            assert (full != expected).mean() < 1e-3
            # 65,536 decisions: each begins at one of these pixels.
            begins = np.ceil(np.arange(2**16) * length / 2**16)
            line = full[0] if size_hw[1] == length else full[:, 0]
            assert np.isin(np.flatnonzero(np.diff(line)) + 1, begins).all()
