"""SAM 2.1 and EdgeTAM: what transformers' own models and processors compute."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import Sam2ImageProcessor, Sam2Processor

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.types import DecodedImage, RGBImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.openvino_export import export
from grounded_labeler.models.segmenters import from_architecture, from_folder, sam2
from grounded_labeler.models.segmenters.geometry import SquashedSquare
from grounded_labeler.models.segmenters.segmenter import PromptSegmenter
from tests.models.segmenters.resizing import resized
from tests.models.segmenters.sam_predictor import ROUNDING, fulls
from tests.models.segmenters.small_models import (
    DEVIATION,
    FAMILIES,
    MEAN,
    SIDE,
    small_model,
    small_segmenter,
)
from tests.models.segmenters.test_clicks import MANY, ONE, clicks
from tests.models.segmenters.test_sam import LARGE, SQUARE, TALL, WIDE, random_boxes, random_image

pytestmark = pytest.mark.slow

ROW, PIXEL = (1, 1500), (1, 1)


class Reference:
    """A model of transformers with its processor.

    Where it `resizes_as_we_do`, it is given images resized by Pillow: torchvision, which its
    processor resizes with, rounds some values otherwise. `test_geometry.py` compares the two.
    """

    side = SIDE
    resizes_as_we_do = True

    def __init__(self, family: str) -> None:
        self.model = small_model(family)
        images = Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})
        self.processor = Sam2Processor(images, target_size=SIDE)

    def pixels(self, image: RGBImage) -> torch.Tensor:
        """What its processor makes of an image, float32 (1, 3, S, S)."""
        made = self.processor(images=image, return_tensors="pt", input_data_format="channels_last")
        pixels: torch.Tensor = made.pixel_values
        return pixels

    def predict(
        self, image: RGBImage, prompts: VisualPrompts, earlier: torch.Tensor | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Logits (N, h, w), scores (N,) and logits at the image's size (N, H, W)."""
        asked: dict[str, Any] = {}
        if prompts.points.shape[1]:
            asked["input_points"] = [prompts.points.tolist()]
            asked["input_labels"] = [prompts.are_positive.astype(int).tolist()]
        if prompts.boxes is not None:
            asked["input_boxes"] = [prompts.boxes.tolist()]
        inputs = self.processor(
            images=image, return_tensors="pt", input_data_format="channels_last", **asked
        )
        sizes = inputs.pop("original_sizes")
        if self.resizes_as_we_do:
            inputs["pixel_values"] = self.pixels(resized(SquashedSquare(self.side), image))
        if earlier is not None:
            inputs["input_masks"] = earlier
        with torch.inference_mode():
            found = self.model(**inputs, multimask_output=prompts.is_ambiguous)
        whole = self.processor.post_process_masks(found.pred_masks, sizes, binarize=False)[0]
        scores = found.iou_scores[0]
        each, best = torch.arange(len(scores)), scores.argmax(1)
        return (
            found.pred_masks[0][each, best].numpy(),
            scores[each, best].numpy(),
            whole[each, best].numpy(),
        )


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def reference(family: str) -> Reference:
    return Reference(family)


@pytest.fixture(scope="module", params=["PyTorch", "OpenVINO"])
def segmenter(
    family: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> PromptSegmenter:
    if request.param == "PyTorch":
        return small_segmenter(family)
    folder = tmp_path_factory.mktemp("graphs") / family
    parts = sam2.architecture(small_model(family), MEAN, DEVIATION)
    export(parts.parts, folder, parts.facts)
    made = from_folder(folder, Compute())
    assert made.runtime.name == "OpenVINO"
    return made


def check(
    segmenter: PromptSegmenter,
    reference: Reference,
    image: RGBImage,
    prompts: VisualPrompts,
    rounding: float = 1e-5,
) -> None:
    """Logits, scores and masks are transformers' own; logits but for `rounding` of the largest."""
    decoded, size_hw = DecodedImage.of(image), (image.shape[0], image.shape[1])
    logits, scores, whole = reference.predict(image, prompts)
    found, guesses = segmenter._decode(segmenter._levels(decoded), prompts, None, size_hw)
    np.testing.assert_allclose(found, logits, rtol=rounding, atol=rounding * abs(logits).max())
    np.testing.assert_allclose(guesses, scores, atol=1e-5)
    segments = segmenter.segment(decoded, prompts)
    np.testing.assert_allclose([one.score for one in segments], scores, atol=1e-5)
    close = abs(whole) < ROUNDING * abs(logits).max()
    assert close.mean() < 1e-2, "what is close to the threshold is not compared"
    masks = fulls([one.mask for one in segments])
    np.testing.assert_array_equal(masks | close, (whole > 0) | close)


@pytest.mark.parametrize("size_hw", [WIDE, TALL, SQUARE, LARGE, ROW, ROW[::-1], PIXEL])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_boxes(
    segmenter: PromptSegmenter, reference: Reference, size_hw: tuple[int, int], count: int
) -> None:
    image, boxes = random_image(size_hw), random_boxes(count, size_hw)
    check(segmenter, reference, image, VisualPrompts.of_boxes(boxes))


@pytest.mark.parametrize("size_hw", [WIDE, TALL, SQUARE, LARGE])
def test_masks_agree_with_those_of_images_that_torchvision_resized(
    family: str, size_hw: tuple[int, int]
) -> None:
    reference, model = Reference(family), small_model(family)
    reference.resizes_as_we_do = False
    for one in (reference.model, model):
        # The least change may tip the choice of another mask, and with random weights the masks
        # to choose from have nothing in common.
        one.mask_decoder.dynamic_multimask_via_stability = False
    image, prompts = random_image(size_hw), VisualPrompts.of_boxes(random_boxes(7, size_hw))
    _, _, whole = reference.predict(image, prompts)
    segmenter = from_architecture(sam2.architecture(model, MEAN, DEVIATION), Compute())
    segments = segmenter.segment(DecodedImage.of(image), prompts)
    for segment, expected in zip(segments, whole > 0, strict=True):
        assert mask_iou(segment.mask.full(), expected) >= 0.99


@pytest.mark.parametrize("size_hw", [WIDE, TALL, SQUARE, ROW])
@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param(ONE, id="a click"),
        pytest.param(clicks((20, 12, False)), id="a negative click"),
        pytest.param(MANY, id="clicks"),
        pytest.param(clicks((20, 12, True), (12, 30, False), boxes=True), id="a box and clicks"),
    ],
)
def test_clicks(
    segmenter: PromptSegmenter,
    reference: Reference,
    size_hw: tuple[int, int],
    prompts: VisualPrompts,
) -> None:
    check(segmenter, reference, random_image(size_hw), prompts)


def test_a_click_for_each_of_several_objects(
    segmenter: PromptSegmenter, reference: Reference
) -> None:
    points = np.array([[[20, 12]], [[5, 30]], [[100, 50]], [[70, 7]], [[0, 0]]], np.float32)
    prompts = VisualPrompts(None, points, np.ones((5, 1), np.bool_))
    check(segmenter, reference, random_image(WIDE), prompts)


def test_the_levels_of_features_are_the_model_s(
    segmenter: PromptSegmenter, reference: Reference
) -> None:
    image = random_image(LARGE)
    pixels = reference.pixels(resized(SquashedSquare(SIDE), image))
    with torch.inference_mode():
        expected = reference.model.get_image_embeddings(pixels)
    found = segmenter._encode(image)
    assert [tuple(one.shape) for one in found] == [(1, 4, 32, 32), (1, 8, 16, 16), (1, 32, 8, 8)]
    for ours, theirs in zip(found, expected, strict=True):
        scale = float(theirs.abs().max())
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * scale)


def test_an_unstable_single_mask_gives_way_to_the_best_of_three(
    segmenter: PromptSegmenter,
) -> None:
    """Among random boxes are both kinds; `check` holds the choice to the model's own."""
    boxes = random_boxes(20, SQUARE).reshape(20, 2, 2)
    points = np.concatenate((boxes, np.zeros((20, 1, 2), np.float32)), 1)
    kinds = np.array([[2, 3, -1]] * 20)
    earlier, none = np.zeros((1, 1, 32, 32), np.float32), np.zeros(1, np.float32)
    levels = segmenter._encode(random_image(SQUARE))
    logits, scores = segmenter._graphs["decoder"](*levels, points, kinds, earlier, none)
    best = scores[:, 1:].argmax(1) + 1
    gave_way = np.all(logits[:, 0] == logits[np.arange(20), best], axis=(1, 2))
    assert 0 < gave_way.sum() < 20


@pytest.mark.parametrize("boxes", [False, True])
def test_the_next_click_refines_what_the_clicks_before_gave(
    family: str, reference: Reference, *, boxes: bool
) -> None:
    image, segmenter = random_image(WIDE), small_segmenter(family, cache=ByteCache(2**24))
    points = [(20.0, 12.0, True), (5.0, 30.0, False), (33.0, 8.0, True)]
    earlier, alone = None, []
    for number in range(1, 4):
        prompts = clicks(*points[:number], boxes=boxes)
        logits, [score], _ = reference.predict(image, prompts, earlier)
        [segment] = segmenter.segment(DecodedImage.of(image), prompts)
        assert segment.score == pytest.approx(score, abs=1e-5), number
        alone.append(abs(reference.predict(image, prompts)[1][0] - score))
        # As SAM 2's own predictor hands it on.
        earlier = torch.tensor(logits).clamp(-32, 32)[None]
    assert max(alone) > 1e-4, "refinement that changes nothing would prove nothing"


def test_logits_of_the_prompts_before_count_up_to_32(
    segmenter: PromptSegmenter, reference: Reference
) -> None:
    image, decoded = random_image(WIDE), DecodedImage.of(random_image(WIDE))
    large = 100 * torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(1))
    logits, scores, _ = reference.predict(image, MANY, large.clamp(-32, 32)[None])
    found, guesses = segmenter._decode(segmenter._levels(decoded), MANY, large.numpy(), WIDE)
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5 * max(1, abs(logits).max()))
    np.testing.assert_allclose(guesses, scores, atol=1e-5)


def test_a_model_that_never_falls_back_keeps_its_single_mask(family: str) -> None:
    reference, model = Reference(family), small_model(family)
    for one in (reference.model, model):
        one.mask_decoder.dynamic_multimask_via_stability = False
    segmenter = from_architecture(sam2.architecture(model, MEAN, DEVIATION), Compute())
    prompts = VisualPrompts.of_boxes(random_boxes(20, WIDE))
    check(segmenter, reference, random_image(WIDE), prompts)


def test_no_boxes_give_no_masks(segmenter: PromptSegmenter) -> None:
    image = DecodedImage.of(random_image(WIDE))
    assert segmenter.segment(image, VisualPrompts.of_boxes(random_boxes(0, WIDE))) == []
