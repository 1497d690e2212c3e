"""Masks held against those of segment-anything's own SamPredictor."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Boxes, DecodedImage, RGBImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import Segmenter, from_architecture, sam
from grounded_labeler.models.segmenters.segmenter import PromptSegmenter

# Logits this close to the threshold, in parts of the largest, may fall on either side of it.
ROUNDING = 1e-5


def check_as_sam_predictor(
    masks: Sequence[Mask], model: Sam, image: RGBImage, boxes: Boxes
) -> None:
    """Every pixel is as SamPredictor has it, but where rounding may decide."""
    predictor = SamPredictor(model)
    predictor.set_image(image)
    corners = predictor.transform.apply_boxes_torch(torch.tensor(boxes), image.shape[:2])
    answer, _, _ = predictor.predict_torch(
        None, None, boxes=corners, multimask_output=False, return_logits=True
    )
    logits: NDArray[np.float32] = answer[:, 0].numpy()
    close = abs(logits - model.mask_threshold) < ROUNDING * abs(logits).max()
    assert close.mean() < 1e-3, "what is close to the threshold is not compared"
    np.testing.assert_array_equal(fulls(masks) | close, (logits > model.mask_threshold) | close)


def sam_segmenter(model: Sam, compute: Compute | None = None, **options: Any) -> PromptSegmenter:
    """A segmenter on a Sam, in float32 on the CPU unless said otherwise."""
    return from_architecture(sam.architecture(model), compute or Compute(), **options)


def box_masks(segmenter: Segmenter, image: DecodedImage, boxes: Boxes) -> list[Mask]:
    """The mask of each box, float32 (N, 4)."""
    return [one.mask for one in segmenter.segment(image, VisualPrompts.of_boxes(boxes))]


def fulls(masks: Sequence[Mask]) -> NDArray[np.bool_]:
    """Bool (N, H, W), N at least 1."""
    return np.stack([mask.full() for mask in masks])
