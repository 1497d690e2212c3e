import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

import grounded_labeler
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Boxes, DecodedImage, RGBImage
from grounded_labeler.demo.evaluate import mask_iou
from grounded_labeler.demo.shapes import draw_image
from grounded_labeler.errors import OutOfMemory, WeightsError
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.models.segmenters.mask_upscaling import Upscaler
from grounded_labeler.models.segmenters.sam import Encoder, RelativeAttention, split
from grounded_labeler.models.segmenters.sam_build import (
    CONFIG_FILE,
    OFFICIAL,
    WEIGHTS_FILE,
    SamConfig,
    build_sam,
)
from grounded_labeler.models.state_dict import load_weights
from tests.models.segmenters.sam_predictor import (
    box_masks,
    check_as_sam_predictor,
    fulls,
    sam_segmenter,
)

pytestmark = pytest.mark.slow

DEMO = Path(grounded_labeler.__file__).parent / "demo" / "weights" / "segmenter"
TINY = SamConfig(
    image_size=128,
    patch_size=16,
    encoder_dim=32,
    encoder_depth=2,
    encoder_heads=2,
    encoder_mlp_ratio=2.0,
    window_size=3,
    global_blocks=(1,),
    prompt_dim=32,
    mask_channels=8,
    decoder_depth=2,
    decoder_heads=2,
    decoder_mlp_dim=64,
    iou_head_dim=16,
)
WIDE, TALL, SQUARE, LARGE = (60, 150), (150, 40), (128, 128), (330, 470)


def tiny_sam() -> Sam:
    """Random weights with no zeros among them, so that every layer has its say."""
    torch.manual_seed(3)
    model = build_sam(TINY).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def model() -> Sam:
    return tiny_sam()


def random_image(size_hw: tuple[int, int], seed: int = 0) -> RGBImage:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def random_boxes(count: int, size_hw: tuple[int, int]) -> Boxes:
    """`count` boxes; the first is the whole image, the second one pixel in the last corner."""
    height, width = size_hw
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, [width, height], (count, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    boxes[:1] = [0, 0, width, height]
    boxes[1:2] = [width - 1, height - 1, width, height]
    return boxes.astype(np.float32)


def masks_of_wide(model: Sam, count: int) -> list[Mask]:
    image = DecodedImage.of(random_image(WIDE))
    return box_masks(sam_segmenter(model), image, random_boxes(count, WIDE))


class Calls:
    """Counts what the encoder and the decoder of `model` are asked for."""

    def __init__(self, model: Sam) -> None:
        self.encoded = 0
        self.decoded: list[int] = []
        model.image_encoder.register_forward_pre_hook(self._encoder)
        model.mask_decoder.transformer.register_forward_pre_hook(self._decoder)

    def _encoder(self, _module: object, _args: object) -> None:
        self.encoded += 1

    def _decoder(self, _module: object, args: tuple[torch.Tensor, ...]) -> None:
        self.decoded.append(len(args[-1]))  # the tokens of each prompt


@pytest.mark.parametrize("size_hw", [WIDE, TALL, SQUARE, LARGE])
@pytest.mark.parametrize("count", [1, 5, 40])
def test_masks_are_those_of_sam_predictor(model: Sam, size_hw: tuple[int, int], count: int) -> None:
    image, boxes = random_image(size_hw), random_boxes(count, size_hw)
    masks = box_masks(sam_segmenter(model), DecodedImage.of(image), boxes)
    assert [mask.size_hw for mask in masks] == [size_hw] * count
    assert 0.02 < fulls(masks).mean() < 0.98, "masks all of one kind would prove nothing"
    check_as_sam_predictor(masks, model, image, boxes)


def test_the_encoder_is_the_packages_bit_by_bit_and_makes_no_indices_when_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A table of positions that is made on the CPU and brought to a GPU ends a CUDA graph."""
    model, pixels = tiny_sam(), torch.randn(1, 3, TINY.image_size, TINY.image_size)
    names = list(model.state_dict())
    with torch.inference_mode():
        expected = model.image_encoder(pixels)
        encoder = Encoder(model)
        assert list(model.state_dict()) == names
        attentions = [block.attn for block in model.image_encoder.blocks]
        assert all(isinstance(attention, RelativeAttention) for attention in attentions)
        monkeypatch.setattr(torch, "arange", None)
        [found] = encoder(pixels)
    assert torch.equal(found, expected)


def test_no_boxes_give_no_masks_and_no_encoding() -> None:
    model = tiny_sam()
    calls = Calls(model)
    assert masks_of_wide(model, 0) == []
    assert calls.encoded == 0


@pytest.mark.parametrize(
    ("boxes_per_decode", "decoded"),
    [
        pytest.param(16, [11], id="all together"),
        pytest.param(4, [4, 4, 3], id="by fours"),
        pytest.param(1, [1] * 11, id="one at a time"),
        pytest.param(None, [4, 4, 3], id="as suits a CPU"),
    ],
)
def test_chunks_change_no_mask(boxes_per_decode: int | None, decoded: list[int]) -> None:
    model = tiny_sam()
    image, boxes = random_image(WIDE), random_boxes(11, WIDE)
    calls = Calls(model)
    masks = box_masks(
        sam_segmenter(model, boxes_per_decode=boxes_per_decode),
        DecodedImage.of(image),
        boxes,
    )
    assert calls.encoded == 1
    assert calls.decoded == decoded
    check_as_sam_predictor(masks, model, image, boxes)


def test_the_decoder_makes_no_copy_of_the_image_for_each_box() -> None:
    model, images = tiny_sam(), []
    model.mask_decoder.transformer.register_forward_pre_hook(
        lambda _, args: images.append(len(args[0]))
    )
    assert len(masks_of_wide(model, 4)) == 4
    assert images == [1]


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_where_the_cells_are_is_computed_in_float32_even_in_half_precision(
    half: torch.dtype,
) -> None:
    """Half a precision would move the image against the points by pixels."""
    model = tiny_sam()
    decoder = split(model)["decoder"]
    given: list[torch.Tensor] = []
    model.mask_decoder.transformer.register_forward_pre_hook(
        lambda _, inputs: given.append(inputs[1])
    )
    inputs = decoder.example()
    given.clear()
    with torch.autocast("cpu", dtype=half):
        decoder.module(*inputs)
    assert torch.equal(given[0], model.prompt_encoder.get_dense_pe())


def cramp(model: Sam, room: int, error: Exception) -> None:
    """Let the decoder fail on more than `room` boxes, its answer in its hands."""

    def hook(_module: object, args: tuple[torch.Tensor, ...], _output: object) -> None:
        if len(args[-1]) > room:
            raise error

    model.mask_decoder.transformer.register_forward_hook(hook)


SHORT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize(
    ("room", "count", "decoded"),
    [
        pytest.param(1, 5, [5, 2, 1, 1, 1, 1, 1], id="one at a time"),
        pytest.param(2, 11, [8, 4, 2, 2, 2, 2, 2, 1], id="for the rest of the image"),
        pytest.param(8, 11, [8, 3], id="all fit"),
    ],
)
def test_boxes_too_many_for_the_memory_are_decoded_in_smaller_groups(
    room: int, count: int, decoded: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_sam()
    image, boxes = random_image(WIDE), random_boxes(count, WIDE)
    calls = Calls(model)
    cramp(model, room, SHORT_OF_MEMORY)
    segmenter = sam_segmenter(model, boxes_per_decode=8)
    for _ in range(2):  # the next image starts with whole groups again
        calls.decoded.clear()
        caplog.clear()
        masks = box_masks(segmenter, DecodedImage.of(image), boxes)
        assert calls.decoded == decoded
        tried = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert len(tried) == sum(size > room for size in decoded)
    assert calls.encoded == 2
    check_as_sam_predictor(masks, tiny_sam(), image, boxes)
    if tried:
        first, half = decoded[:2]
        assert tried[0] == f"Out of memory on the masks of {first} boxes (150x60): trying {half}"


def test_one_box_that_never_fits_is_given_up() -> None:
    model = tiny_sam()
    calls = Calls(model)
    cramp(model, 0, SHORT_OF_MEMORY)
    with pytest.raises(OutOfMemory, match="CUDA out of memory"):
        masks_of_wide(model, 40)
    assert calls.decoded == [4, 2, 1]


def test_other_failures_are_not_tried_again() -> None:
    model = tiny_sam()
    calls = Calls(model)
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    cramp(model, 0, error)
    with pytest.raises(RuntimeError) as caught:
        masks_of_wide(model, 5)
    assert caught.value is error
    assert calls.decoded == [4]


def test_an_image_too_large_to_encode_is_given_up() -> None:
    model = tiny_sam()
    calls = Calls(model)

    def fail(*_: object) -> None:
        raise SHORT_OF_MEMORY

    model.image_encoder.register_forward_hook(fail)
    with pytest.raises(OutOfMemory, match="CUDA out of memory"):
        masks_of_wide(model, 5)
    assert calls.encoded == 1
    assert calls.decoded == []


def test_an_image_that_fills_the_memory_is_given_up(model: Sam) -> None:
    # A view of one pixel, as wide and high as no memory is.
    image = np.broadcast_to(np.uint8(0), (2**28, 2**28, 3))
    with pytest.raises(OutOfMemory, match="MemoryError"):
        box_masks(
            sam_segmenter(model),
            DecodedImage(image, "wide"),
            random_boxes(1, WIDE),
        )


def test_masks_that_fill_the_memory_are_made_of_fewer_boxes_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_sam()
    calls = Calls(model)

    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 12.0 MiB")

    monkeypatch.setattr(Upscaler, "masks", fail)
    with pytest.raises(OutOfMemory, match="Unable to allocate"):
        masks_of_wide(model, 5)
    assert calls.decoded == [4, 2, 1]


def test_threads_with_different_images_do_not_mix(model: Sam) -> None:
    segmenter = sam_segmenter(model, boxes_per_decode=2)
    sizes = [WIDE, TALL, SQUARE, (60, 150)]
    work = [
        (DecodedImage.of(random_image(size, seed)), random_boxes(5, size))
        for seed, size in enumerate(sizes)
    ]
    alone = [fulls(box_masks(segmenter, image, boxes)) for image, boxes in work]
    assert not np.array_equal(alone[0], alone[3]), "the two wide images must differ"
    together = Barrier(len(work))

    def many_times(index: int) -> list[NDArray[np.bool_]]:
        together.wait(timeout=200)
        return [fulls(box_masks(segmenter, *work[index])) for _ in range(10)]

    with ThreadPoolExecutor(len(work)) as pool:
        for expected, answers in zip(alone, pool.map(many_times, range(len(work))), strict=True):
            for answer in answers:
                np.testing.assert_array_equal(answer, expected)


def test_an_image_longer_than_the_model_can_show_is_still_answered(model: Sam) -> None:
    image, boxes = random_image((1, 1500)), random_boxes(2, (1, 1500))
    assert fulls(box_masks(sam_segmenter(model), DecodedImage.of(image), boxes)).shape == (
        2,
        1,
        1500,
    )


@pytest.mark.filterwarnings("error")
def test_read_only_arrays_are_taken_and_left_alone(model: Sam) -> None:
    image, boxes = random_image(WIDE), random_boxes(3, WIDE)
    image.flags.writeable = boxes.flags.writeable = False
    masks = box_masks(sam_segmenter(model), DecodedImage.of(image), boxes)
    assert [mask.size_hw for mask in masks] == [WIDE] * 3


def save(model: Sam, config: SamConfig, folder: Path) -> None:
    (folder / CONFIG_FILE).write_text(json.dumps(asdict(config)))
    save_file(model.state_dict(), folder / WEIGHTS_FILE)


def test_a_folder_with_a_config_gives_back_the_saved_model(model: Sam, tmp_path: Path) -> None:
    save(model, TINY, tmp_path)
    segmenter = load_segmenter("sam", tmp_path, Compute())
    image, boxes = random_image(TALL), random_boxes(5, TALL)
    assert segmenter.device == "cpu"
    check_as_sam_predictor(box_masks(segmenter, DecodedImage.of(image), boxes), model, image, boxes)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(TINY, encoder_depth=3), r"14 missing \(image_encoder.blocks.2.attn.*, \.\.\.\)"),
        (replace(TINY, encoder_depth=1), r"14 unexpected \(image_encoder.blocks.1.attn"),
        (
            replace(TINY, iou_head_dim=8),
            r"5 of another shape or type \(mask_decoder.iou_prediction_head",
        ),
    ],
)
def test_weights_of_other_sizes_are_refused_by_key(
    model: Sam, tmp_path: Path, config: SamConfig, message: str
) -> None:
    save(model, config, tmp_path)
    with pytest.raises(WeightsError, match=message):
        load_segmenter("sam", tmp_path, Compute())


def test_weights_in_half_precision_are_refused(model: Sam, tmp_path: Path) -> None:
    save(model, TINY, tmp_path)
    halves = {key: value.half() for key, value in model.state_dict().items()}
    save_file(halves, tmp_path / WEIGHTS_FILE)
    with pytest.raises(WeightsError, match=f"{len(halves)} of another shape or type"):
        load_segmenter("sam", tmp_path, Compute())


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"global_blocks": []}', '{"global_blocks": 3}', '{"other": 1}'],
)
def test_a_config_that_is_not_one_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(WeightsError, match=CONFIG_FILE):
        load_segmenter("sam", tmp_path, Compute())


def test_missing_weights_beside_a_config_are_named(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text(json.dumps(asdict(TINY)))
    with pytest.raises(WeightsError, match=f"{WEIGHTS_FILE} cannot be read: No such file"):
        load_segmenter("sam", tmp_path, Compute())


def test_weights_that_cannot_be_read_are_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text(json.dumps(asdict(TINY)))
    (tmp_path / WEIGHTS_FILE).mkdir()
    with pytest.raises(WeightsError, match=f"{WEIGHTS_FILE} cannot be read: Is a dir"):
        load_segmenter("sam", tmp_path, Compute())


def shape_only(name: str) -> dict[str, torch.Tensor]:
    """A state_dict with a published architecture's keys and shapes that fills no memory."""
    with torch.device("meta"):
        state = sam_model_registry[name]().state_dict()
    return {key: torch.zeros(()).expand(value.shape) for key, value in state.items()}


# How many tensors the published files hold.
@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("sam_vit_b_01ec64.pth", 314),
        ("sam_vit_l_0b3195.pth", 482),
        ("sam_vit_h_4b8939.pth", 594),
    ],
)
def test_every_published_layout_loads_and_a_lost_key_is_named(
    tmp_path: Path, file: str, keys: int
) -> None:
    state = shape_only(OFFICIAL[file])
    assert len(state) == keys
    torch.save(state, tmp_path / file)
    load_segmenter("sam", tmp_path, Compute())

    del state["image_encoder.pos_embed"]
    torch.save(state, tmp_path / file)
    with pytest.raises(WeightsError, match=r"1 missing \(image_encoder.pos_embed\)\.$"):
        load_segmenter("sam", tmp_path, Compute())


def test_vit_b_from_its_published_layout_answers_as_the_model_that_was_saved(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    saved = sam_model_registry["vit_b"]()
    torch.save(saved.state_dict(), tmp_path / "sam_vit_b_01ec64.pth")
    with torch.device("meta"):
        loaded = sam_model_registry["vit_b"]()
    load_weights(loaded, tmp_path / "sam_vit_b_01ec64.pth")
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, saved.state_dict()[key]), key

    # One block instead of twelve: the whole encoder would take half a minute.
    saved.image_encoder.blocks = saved.image_encoder.blocks[:1]
    loaded.image_encoder.blocks = loaded.image_encoder.blocks[:1]
    image, boxes = random_image(WIDE), random_boxes(3, WIDE)
    masks = box_masks(sam_segmenter(loaded), DecodedImage.of(image), boxes)
    assert 0 < fulls(masks).mean() < 1
    check_as_sam_predictor(masks, saved, image, boxes)


@pytest.mark.parametrize(
    ("files", "found"),
    [((), "none"), (("sam_vit_b_01ec64.pth", "sam_vit_l_0b3195.pth"), "b_01ec64.*l_0b3195")],
)
def test_a_folder_holds_one_published_file(
    tmp_path: Path, files: tuple[str, ...], found: str
) -> None:
    for file in files:
        (tmp_path / file).touch()
    with pytest.raises(WeightsError, match=f"exactly one of .*, found .*{found}"):
        load_segmenter("sam", tmp_path, Compute())


class Harmful:
    """Pickles to a call, as a file made to do harm would."""

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return (Path.touch, (Path("harm"),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "damaged", id="empty"),
        pytest.param(b"<html>404</html>" * 40, "damaged", id="a page instead of the file"),
        pytest.param(bytes(range(256)) * 40, "damaged", id="noise"),
        pytest.param(b"\x80\x02}q\x00.", "damaged", id="a bare pickle"),
        pytest.param([1, 2], "must hold a state_dict, got list", id="a list"),
        pytest.param({"model": {}}, r"314 missing .*1 unexpected \(model\)", id="nested"),
        pytest.param({"x": Harmful()}, "damaged", id="a pickle that calls"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "sam_vit_b_01ec64.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(WeightsError, match=message):
        load_segmenter("sam", tmp_path, Compute())
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("part", [0.01, 0.5, 0.999])
def test_a_download_cut_short_is_called_damaged(model: Sam, tmp_path: Path, part: float) -> None:
    save(model, TINY, tmp_path)
    torch.save(model.state_dict(), tmp_path / "whole.pth")
    for whole, cut in [(WEIGHTS_FILE, WEIGHTS_FILE), ("whole.pth", "sam_vit_b_01ec64.pth")]:
        data = (tmp_path / whole).read_bytes()
        (tmp_path / cut).write_bytes(data[: int(len(data) * part)])
        with pytest.raises(WeightsError, match=f"{cut} is damaged"):
            load_segmenter("sam", tmp_path, Compute())
        (tmp_path / CONFIG_FILE).unlink(missing_ok=True)


def test_the_demo_segmenter_outlines_shapes_and_finds_the_holes_of_rings() -> None:
    segmenter = load_segmenter("sam", DEMO, Compute())
    rng = np.random.default_rng(2026)
    overlaps, holes = [], []
    for size_wh in [(192, 192), (320, 240), (240, 320), (480, 320)] * 5:
        image = draw_image(rng, size_wh)
        masks = box_masks(
            segmenter, DecodedImage.of(image.image), np.array([s.box for s in image.shapes])
        )
        for shape, mask in zip(image.shapes, masks, strict=True):
            overlaps.append(mask_iou(mask.full(), shape.mask))
            if shape.kind == "ring":
                x, y = ((shape.box[:2] + shape.box[2:]) / 2).astype(int)
                holes.append(not mask.full()[y, x])
    assert np.mean(overlaps) > 0.94
    assert len(holes) > 5
    assert all(holes)
