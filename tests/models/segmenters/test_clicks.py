"""Clicks, boxes and both: what SamPredictor computes, and what is kept between clicks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from kornia.models.sam.architecture.mask_decoder import MaskDecoder
from kornia.models.sam.architecture.prompt_encoder import PromptEncoder
from kornia.models.sam.architecture.transformer import TwoWayTransformer
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from torch import Tensor

from grounded_labeler.cache import ByteCache, Key
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.models.observer import Stage
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.openvino_export import export
from grounded_labeler.models.segmenters import from_folder
from grounded_labeler.models.segmenters.architecture import embed_points
from grounded_labeler.models.segmenters.sam import Decoder, architecture
from grounded_labeler.models.segmenters.segmenter import PromptSegmenter
from tests.models.segmenters.sam_predictor import sam_segmenter
from tests.models.segmenters.small_models import FAMILIES, small_segmenter
from tests.models.segmenters.test_sam import SQUARE, TALL, TINY, WIDE, random_image, tiny_sam

BOX = np.array([[10, 5, 35, 40]], np.float32)


def clicks(*points: tuple[float, float, bool], boxes: bool = False) -> VisualPrompts:
    """Points (x, y, whether positive) of one object, and a box if asked."""
    xy = np.array([[(x, y) for x, y, _ in points]], np.float32).reshape(1, -1, 2)
    are_positive = np.array([[positive for _, _, positive in points]], np.bool_).reshape(1, -1)
    return VisualPrompts(BOX if boxes else None, xy, are_positive)


ONE = clicks((20, 12, True))
MANY = clicks((20, 12, True), (5, 30, False), (33, 8, True))


@pytest.fixture(scope="module")
def model() -> Sam:
    return tiny_sam()


@pytest.fixture(scope="module", params=["PyTorch", "OpenVINO"])
def segmenter(
    model: Sam, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> PromptSegmenter:
    if request.param == "PyTorch":
        return sam_segmenter(tiny_sam())
    folder = tmp_path_factory.mktemp("graphs") / "sam"
    made = architecture(tiny_sam())
    export(made.parts, folder, made.facts)
    return from_folder(folder, Compute())


@pytest.mark.parametrize("size_hw", [WIDE, TALL, SQUARE])
@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param(ONE, id="a click"),
        pytest.param(clicks((20, 12, False)), id="a negative click"),
        pytest.param(MANY, id="clicks"),
        pytest.param(clicks(boxes=True), id="a box"),
        pytest.param(clicks((20, 12, True), (12, 30, False), boxes=True), id="a box and clicks"),
    ],
)
def test_logits_and_scores_are_those_of_sam_predictor(
    model: Sam, segmenter: PromptSegmenter, prompts: VisualPrompts, size_hw: tuple[int, int]
) -> None:
    image = random_image(size_hw)
    predictor = SamPredictor(model)
    predictor.set_image(image)
    masks, scores, logits = predictor.predict(
        prompts.points[0] if prompts.points.size else None,
        prompts.are_positive[0].astype(int) if prompts.points.size else None,
        None if prompts.boxes is None else prompts.boxes[0],
        multimask_output=prompts.is_ambiguous,
    )
    best = int(scores.argmax())
    picture = DecodedImage.of(image)
    found, guess = segmenter._decode(segmenter._levels(picture), prompts, None, size_hw)
    np.testing.assert_allclose(found[0], logits[best], rtol=1e-5, atol=1e-5 * abs(logits).max())
    assert guess[0] == pytest.approx(scores[best], abs=1e-5)
    [segment] = segmenter.segment(picture, prompts)
    assert segment.score == pytest.approx(scores[best], abs=1e-5)
    assert (segment.mask.full() != masks[best]).mean() < 1e-3


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("with_earlier", [False, True])
def test_the_decoder_of_mobile_sam_computes_what_kornia_s_does(
    model: Sam, *, boxes: bool, with_earlier: bool
) -> None:
    """On the weights of a tiny SAM: MobileSAM's decoder is SAM's."""
    own = model.prompt_encoder, model.mask_decoder
    side, grid_hw = model.image_encoder.img_size, own[0].image_embedding_size
    theirs = (
        PromptEncoder(TINY.prompt_dim, grid_hw, (side, side), TINY.mask_channels),
        MaskDecoder(
            transformer_dim=TINY.prompt_dim,
            transformer=TwoWayTransformer(
                TINY.decoder_depth, TINY.prompt_dim, TINY.decoder_heads, TINY.decoder_mlp_dim
            ),
            iou_head_hidden_dim=TINY.iou_head_dim,
        ),
    )
    for module, source in zip(theirs, own, strict=True):
        module.load_state_dict(source.state_dict())
        module.eval()
    torch.manual_seed(1)
    embedding, points = torch.randn(1, TINY.prompt_dim, *grid_hw), torch.rand(2, 3, 2) * side
    kinds, corners = torch.tensor([[1, 0, 1]] * 2), torch.rand(2, 4) * side
    earlier = torch.randn(2, 1, *own[0].mask_input_size)
    encode, decode = theirs
    with torch.inference_mode():
        sparse, dense = encode(
            (points, kinds), corners if boxes else None, earlier if with_earlier else None
        )
        expected = [
            decode(embedding, encode.get_dense_pe(), sparse, dense, multimask_output=several)
            for several in (False, True)
        ]
        more, of = corners.reshape(2, 2, 2), torch.tensor([[2, 3]] * 2)
        if not boxes:
            more, of = torch.zeros(2, 1, 2), torch.tensor([[-1]] * 2)
        found = Decoder(model)(
            embedding,
            torch.cat((points, more), 1),
            torch.cat((kinds, of), 1),
            earlier,
            torch.tensor([float(with_earlier)]),
        )
    for ours, (one, three) in zip(found, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(ours, torch.cat((one, three), 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("boxes", [False, True])
def test_the_next_click_refines_what_the_clicks_before_gave(model: Sam, *, boxes: bool) -> None:
    image, segmenter = (
        random_image(WIDE),
        sam_segmenter(tiny_sam(), cache=ByteCache(2**24)),
    )
    predictor = SamPredictor(model)
    predictor.set_image(image)
    points = [(20.0, 12.0, True), (5.0, 30.0, False), (33.0, 8.0, True)]
    earlier = None
    for number in range(1, 4):
        prompts = clicks(*points[:number], boxes=boxes)
        _, scores, logits = predictor.predict(
            prompts.points[0],
            prompts.are_positive[0].astype(int),
            None if prompts.boxes is None else prompts.boxes[0],
            mask_input=earlier,
            multimask_output=prompts.is_ambiguous,
        )
        best = int(scores.argmax())
        earlier = logits[best : best + 1]
        [segment] = segmenter.segment(DecodedImage.of(image), prompts)
        assert segment.score == pytest.approx(scores[best], abs=1e-5), number


Make = Callable[..., PromptSegmenter]


@pytest.fixture(params=["sam", *FAMILIES])
def make(request: pytest.FixtureRequest) -> Make:
    """What makes a segmenter of one kind, always with the same weights."""
    family = request.param
    if family == "sam":
        return lambda *given, **options: sam_segmenter(tiny_sam(), *given, **options)
    return partial(small_segmenter, family)


def test_other_clicks_before_are_not_taken_for_these(make: Make) -> None:
    image = DecodedImage.of(random_image(WIDE))
    fresh, used = make(cache=ByteCache(2**24)), make(cache=ByteCache(2**24))
    used.segment(image, clicks((40, 40, True)))
    used.segment(DecodedImage.of(random_image(WIDE, 7)), ONE)
    [alone], [after] = fresh.segment(image, MANY), used.segment(image, MANY)
    assert alone.score == after.score
    np.testing.assert_array_equal(alone.mask.full(), after.mask.full())


def memory_of(array: object) -> int:
    """Bytes of the memory that an array keeps, which may be more than its own."""
    if isinstance(array, np.ndarray) and array.base is not None:
        return memory_of(array.base)
    if isinstance(array, Tensor):
        return array.untyped_storage().nbytes()
    assert isinstance(array, np.ndarray)
    return array.nbytes


class WeighedCache(ByteCache):
    """Takes arrays that hold no more memory than is counted."""

    def put(self, key: Key, value: object, nbytes: int, *, share: float = 1.0) -> None:
        arrays = value if isinstance(value, tuple) else (value,)
        assert sum(memory_of(one) for one in arrays) == nbytes
        super().put(key, value, nbytes, share=share)


@pytest.mark.parametrize("prompts", [ONE, MANY])
def test_what_is_kept_takes_the_memory_that_is_counted(make: Make, prompts: VisualPrompts) -> None:
    cache = WeighedCache(2**24)
    make(cache=cache).segment(DecodedImage.of(random_image(WIDE)), prompts)
    assert len(cache) == 2


class Stages:
    """An Observer that notes the stages entered."""

    def __init__(self) -> None:
        self.seen: list[Stage] = []

    def stage(self, stage: Stage) -> AbstractContextManager[None]:
        self.seen.append(stage)
        return nullcontext()


def test_an_image_encoded_ahead_is_not_encoded_again(make: Make) -> None:
    stages = Stages()
    segmenter = make(cache=ByteCache(2**24), observer=stages)
    image = DecodedImage.of(random_image(WIDE))
    segmenter.encode(image)
    segmenter.segment(image, ONE)
    segmenter.segment(image, MANY)
    assert stages.seen.count(Stage.SEGMENT_ENCODE) == 1
    assert stages.seen.count(Stage.SEGMENT_DECODE) == 2


def test_models_that_share_a_cache_take_none_of_each_other_s_values() -> None:
    """The levels of one are no input to the other."""
    cache, image = ByteCache(2**24), DecodedImage.of(random_image(WIDE))
    for family in FAMILIES:
        alone = small_segmenter(family)
        sharing = small_segmenter(family, cache=cache.for_model(family))
        [expected], [found] = alone.segment(image, ONE), sharing.segment(image, ONE)
        assert found.score == expected.score
    assert len(cache) == 4  # features and logits of each


@pytest.mark.parametrize("count", [0, 1, 500])
def test_any_number_of_points(make: Make, count: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 60, (1, count, 2)).astype(np.float32)
    prompts = VisualPrompts(BOX, points, rng.random((1, count)) < 0.5)
    [segment] = make().segment(DecodedImage.of(random_image(WIDE)), prompts)
    assert segment.mask.size_hw == WIDE
    assert np.isfinite(segment.score)


def test_a_prompt_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="without a box must have a point"):
        VisualPrompts(None, np.zeros((1, 0, 2), np.float32), np.zeros((1, 0), np.bool_))


def test_half_precision_is_not_asked_of_prompts(make: Make) -> None:
    """Points are in float32 whatever the precision: bf16 would move them by pixels."""
    [segment] = make(Compute(precision="bf16")).segment(DecodedImage.of(random_image(WIDE)), MANY)
    [exact] = make().segment(DecodedImage.of(random_image(WIDE)), MANY)
    assert segment.score == pytest.approx(exact.score, abs=0.05)


def test_points_are_encoded_in_float32_under_any_precision() -> None:
    matrix = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    points, kinds = torch.tensor([[[1001.0, 7.0]]]), torch.tensor([[1]])

    def embed() -> Tensor:
        return embed_points(
            points,
            kinds,
            1024,
            encode_positions=lambda places: places @ matrix,
            no_point=torch.zeros(1, 8),
            kind_embeddings=[torch.zeros(1, 8), torch.zeros(1, 8)],
        )

    with torch.autocast("cpu", torch.bfloat16):
        found = embed()
    torch.testing.assert_close(found, embed(), rtol=0, atol=0)
