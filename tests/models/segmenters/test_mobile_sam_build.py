from pathlib import Path

import numpy as np
import pytest
import torch

from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import WeightsError
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.models.segmenters.mobile_sam_build import build_mobile_sam
from tests.models.segmenters.sam_predictor import box_masks, check_as_sam_predictor, fulls

pytestmark = pytest.mark.slow


def test_the_published_layout_loads_and_answers_as_sam_predictor(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_mobile_sam().eval()
    torch.save(model.state_dict(), tmp_path / "mobile_sam.pt")
    # The published file is 40,728,226 bytes: the same tensors, and no index buffers.
    assert (tmp_path / "mobile_sam.pt").stat().st_size == pytest.approx(40_728_226, rel=2e-3)

    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    boxes = np.array([[0, 0, 160, 90], [20, 10, 70, 60], [150, 80, 160, 90]], np.float32)
    masks = box_masks(
        load_segmenter("mobile-sam", tmp_path, Compute()), DecodedImage.of(image), boxes
    )

    assert 0 < fulls(masks).mean() < 1
    check_as_sam_predictor(masks, model, image, boxes)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"mobile_sam\.pt cannot be read: No such file"):
        load_segmenter("mobile-sam", tmp_path, Compute())


def test_keys_that_do_not_match_are_named(tmp_path: Path) -> None:
    state = build_mobile_sam().state_dict()
    weight = state.pop("image_encoder.patch_embed.seq.0.c.weight")
    torch.save(state | {"image_encoder.other": weight}, tmp_path / "mobile_sam.pt")
    message = r"1 missing \(image_encoder.patch_embed.*\); 1 unexpected \(image_encoder.other\)"
    with pytest.raises(WeightsError, match=message):
        load_segmenter("mobile-sam", tmp_path, Compute())
