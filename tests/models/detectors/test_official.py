import copy
import functools
import json
import pickle
import socket
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import groundingdino.models.GroundingDINO.groundingdino as package
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from grounded_labeler.core.boxes import from_cxcywh
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import OutOfMemory, WeightsError
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.detectors import official as groundingdino
from grounded_labeler.models.detectors import official_build as engine
from grounded_labeler.models.detectors.grounding_dino import GroundingDetector
from grounded_labeler.models.detectors.official_build import (
    UNUSED_KEYS,
    build_model,
    load_checkpoint,
    load_model,
    load_tokenizer,
)
from grounded_labeler.models.detectors.official_config import NAMED
from tests.models.detectors.small_models import (
    CHECKPOINT,
    CONFIG,
    answer,
    cramp,
    images_of,
    noise,
    save_vocabulary,
    small_model,
    with_torch,
)
from tools.make_groundingdino_golden import (
    GOLDEN,
    ROWS,
    SHORT_SIDE,
    SIZES_HW,
    SMALL,
    TEXT,
    VOCABULARY,
    make_image,
    prepared,
)

pytestmark = pytest.mark.slow

QUERIES = SMALL["num_queries"]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vocabulary(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def model(vocabulary: Path) -> package.GroundingDINO:
    return small_model(vocabulary)


@pytest.fixture(scope="module")
def detector(model: package.GroundingDINO) -> GroundingDetector:
    return small_detector(model)


def small_detector(
    model: package.GroundingDINO, batch_size: int | None = None
) -> GroundingDetector:
    return with_torch(groundingdino.split(model), SHORT_SIDE, batch_size=batch_size)


class TheirBert(nn.Module):
    """transformers' whole BertModel in the place of our text encoder, with its weights."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.config: Any = encoder.config
        self.whole = BertModel(self.config).eval()
        self.whole.load_state_dict(encoder.state_dict())

    def forward(self, attention_mask: Tensor, **given: Tensor) -> Mapping[str, Tensor]:
        out: Mapping[str, Tensor] = self.whole(attention_mask=attention_mask[:, None], **given)
        return out


def test_same_boxes_and_scores_as_the_untouched_package(detector: GroundingDetector) -> None:
    """The file says which transformers ran the package's own text encoder."""
    golden = json.loads(GOLDEN.read_text())
    assert len(golden["answers"]) == 4
    for theirs in golden["answers"]:
        pixels = detector.prepare(make_image(tuple(theirs["size_hw"])))
        boxes, scores = answer(detector, pixels[None], [theirs["caption"]])
        logits = scores[0].max(axis=1)
        order = np.argsort(-logits)[:ROWS]
        np.testing.assert_allclose(logits[order], theirs["logits"], atol=1e-5, rtol=0)
        np.testing.assert_allclose(boxes[0][order], theirs["boxes"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "captions", [["red cat ."], ["red cat .", "dog . a small blue bird . hat ."]]
)
@pytest.mark.parametrize("size_hw", [(120, 160), (97, 131), (64, 200)])
def test_the_parts_answer_as_the_whole_model_does(
    model: package.GroundingDINO,
    detector: GroundingDetector,
    size_hw: tuple[int, int],
    captions: list[str],
) -> None:
    """Sides that are whole patches and sides that are not, different captions in a batch."""
    images = [noise(*size_hw, seed) for seed in range(len(captions))]
    pixels = np.stack([detector.prepare(image) for image in images])
    with torch.inference_mode():
        whole = model(torch.from_numpy(pixels), captions=captions)
    boxes, scores = answer(detector, pixels, captions)
    np.testing.assert_allclose(boxes, whole["pred_boxes"].numpy(), atol=1e-5, rtol=0)
    np.testing.assert_allclose(scores, whole["pred_logits"].sigmoid().numpy(), atol=1e-5, rtol=0)


def test_candidates_are_those_of_the_package_s_predict(
    model: package.GroundingDINO, detector: GroundingDetector
) -> None:
    from groundingdino.util.inference import predict

    phrase = "a small blue bird"
    theirs = copy.deepcopy(model)
    theirs.bert = TheirBert(model.bert)
    image = make_image(SIZES_HW[0])
    boxes, logits, _ = predict(theirs, prepared(image), phrase, 0.0, 0.0, device="cpu")

    (found,) = detector.detect([DecodedImage.of(image)], [[phrase]])

    size_wh = (image.shape[1], image.shape[0])
    # 1e-5 of the image, in pixels.
    np.testing.assert_allclose(
        found.boxes, from_cxcywh(boxes.numpy(), size_wh), atol=1e-5 * max(size_wh), rtol=0
    )
    # predict() takes the highest score of any token; a phrase's peak leaves out
    # those that name nothing: [CLS], "." and [SEP].
    _, scores = answer(detector, detector.prepare(image)[None], [f"{phrase} ."])
    words = len(phrase.split())
    nameless = scores[0][:, [0, words + 1, words + 2]].max(axis=1)
    np.testing.assert_allclose(
        np.maximum(found.peaks[:, 0], nameless), logits.numpy(), atol=1e-5, rtol=0
    )


def test_answers_do_not_depend_on_the_batch(model: package.GroundingDINO) -> None:
    images = [make_image(SIZES_HW[0]) for _ in range(3)]
    images[1] = images[1][::-1]
    asked = [["red cat"], ["a small blue bird", "hat", "dog"], ["cat", "red"]]
    alone = small_detector(model, 1).detect(images_of(images), asked)
    together = small_detector(model, 3).detect(images_of(images), asked)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.peaks, one.peaks, atol=1e-4)
        np.testing.assert_allclose(other.means, one.means, atol=1e-4)
        np.testing.assert_allclose(other.boxes, one.boxes, atol=1e-4 * 160)


@pytest.mark.parametrize(
    ("where", "channels", "whole", "half", "quarter"),
    [
        # 160x213, 80x106 and 40x53 pixels, in whole patches.
        ("backbone", 3, (160, 216), (80, 108), (40, 56)),
        # The finest level has a cell for every 8 pixels.
        ("fusion", 256, (20, 27), (10, 14), (5, 7)),
    ],
)
def test_a_batch_and_then_an_image_too_large_for_the_memory_are_made_smaller(
    model: package.GroundingDINO,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    channels: int,
    whole: tuple[int, int],
    half: tuple[int, int],
    quarter: tuple[int, int],
) -> None:
    images = images_of([make_image(SIZES_HW[0]), make_image(SIZES_HW[0])[::-1]])
    asked = [["red cat"], ["a small blue bird", "hat"]]
    alone = small_detector(model, 1).detect(images, asked)

    parts = groundingdino.split(model)
    shapes = cramp(parts, whole[0] * whole[1], monkeypatch, where)
    found = with_torch(parts, SHORT_SIDE, batch_size=2).detect(images, asked)
    assert shapes == [(batch, channels, *whole) for batch in (2, 1, 1)]
    for one, other in zip(alone, found, strict=True):
        np.testing.assert_allclose(other.peaks, one.peaks, atol=1e-4)
        np.testing.assert_allclose(other.boxes, one.boxes, atol=1e-4 * 160)

    parts = groundingdino.split(model)
    shapes = cramp(parts, quarter[0] * quarter[1], monkeypatch, where)
    (small,) = with_torch(parts, SHORT_SIDE).detect(images[:1], asked[:1])
    assert shapes == [(1, channels, *size) for size in (whole, half, quarter)]
    assert small.boxes.shape == (QUERIES, 4)

    parts = groundingdino.split(model)
    shapes = cramp(parts, 0, monkeypatch, where)
    with pytest.raises(OutOfMemory):
        with_torch(parts, SHORT_SIDE).detect(images[:1], asked[:1])
    assert shapes == [(1, channels, *size) for size in (whole, half, quarter)]


def test_images_of_any_shape_in_one_call(detector: GroundingDetector) -> None:
    sizes = [(48, 96), (96, 48), (64, 64), (300, 1), (1, 1), (2, 300)]
    images = [np.zeros((*size, 3), np.uint8) for size in sizes]
    found = detector.detect(images_of(images), [["cat", "dog"]] * 6)
    for one in found:
        assert one.boxes.shape == (QUERIES, 4)
        assert one.peaks.shape == (QUERIES, 2)
        assert np.isfinite(one.boxes).all()
        assert (one.means <= one.peaks + 1e-6).all()
        assert (one.peaks < 1).all()


def test_phrases_without_a_token_score_zero(detector: GroundingDetector) -> None:
    (found,) = detector.detect([DecodedImage.of(make_image(SIZES_HW[0]))], [["???", "cat"]])
    assert (found.peaks[:, 0] == 0).all()
    assert (found.peaks[:, 1] > 0).all()


def test_building_needs_no_network_prints_nothing_and_leaves_the_package_alone(
    vocabulary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("network used"))
    before = dict(vars(package))
    build_model(
        NAMED[CONFIG],
        load_tokenizer(vocabulary, len(VOCABULARY)),
        BertConfig(**TEXT, attn_implementation="sdpa"),
        **SMALL,
    )
    assert capsys.readouterr().out == ""
    assert dict(vars(package)) == before


def official(model: package.GroundingDINO) -> dict[str, Any]:
    """A checkpoint of the official layout."""
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    for key in UNUSED_KEYS:
        state[f"module.{key}"] = torch.zeros(3)
    return {"model": state}


@pytest.fixture
def small_official(monkeypatch: pytest.MonkeyPatch) -> None:
    """load_detector() makes the small model of these tests instead of Swin-T."""
    small = SimpleNamespace(**{**vars(NAMED[CONFIG]), **SMALL})
    monkeypatch.setitem(NAMED, CONFIG, small)
    monkeypatch.setattr(engine, "BertConfig", functools.partial(BertConfig, **TEXT))


@pytest.mark.usefixtures("small_official")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_loads_official_files(
    model: package.GroundingDINO,
    detector: GroundingDetector,
    vocabulary: Path,
    tmp_path: Path,
    zipped: bool,
) -> None:
    torch.save(official(model), tmp_path / CHECKPOINT, _use_new_zipfile_serialization=zipped)
    state = load_model(tmp_path, vocabulary.parent).state_dict()
    assert state.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(state[key], value)

    options = Options(short_side=SHORT_SIDE)
    loaded = load_detector("groundingdino", tmp_path, options, vocabulary.parent)
    assert loaded.device == "cpu"
    asked = [DecodedImage.of(make_image(SIZES_HW[0]))], [["red cat"]]
    ((one,), (other,)) = loaded.detect(*asked), detector.detect(*asked)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-5 * 160)
    np.testing.assert_allclose(one.peaks, other.peaks, atol=1e-5)


@pytest.mark.usefixtures("small_official")
@pytest.mark.parametrize(
    ("short_side", "size_hw", "expected_hw"),
    [
        (None, (6, 8), (800, 1066)),
        (None, (10, 40), (333, 1332)),
        (160, (120, 160), (160, 213)),
        (160, (208, 96), (266, 123)),
    ],
)
def test_images_are_resized_as_published_or_as_asked(
    model: package.GroundingDINO,
    vocabulary: Path,
    tmp_path: Path,
    short_side: int | None,
    size_hw: tuple[int, int],
    expected_hw: tuple[int, int],
) -> None:
    torch.save(official(model), tmp_path / CHECKPOINT)
    detector = with_torch(groundingdino.load(tmp_path, vocabulary.parent), short_side)
    assert detector.prepare(noise(*size_hw)).shape == (3, *expected_hw)


@pytest.mark.usefixtures("small_official")
def test_missing_files_are_named(vocabulary: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=CHECKPOINT):
        load_detector("groundingdino", tmp_path, Options(), vocabulary.parent)
    (tmp_path / CHECKPOINT).touch()
    with pytest.raises(WeightsError, match=r"vocab\.txt is missing"):
        load_detector("groundingdino", tmp_path, Options())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"<html>Not Found</html>", "damaged"),
        (pickle.dumps({"model": Path("x")}), "damaged"),
        ("truncated", "damaged"),
        ({"state_dict": {}}, "damaged"),
        ([1, 2], "damaged"),
        ({"model": 3}, "damaged"),
        ({"model": {}}, r"\d+ missing \(backbone"),
    ],
)
def test_damaged_files_are_refused(
    model: package.GroundingDINO, tmp_path: Path, content: object, message: str
) -> None:
    file = tmp_path / "model.pth"
    if content == "truncated":
        torch.save({"model": {"a": torch.zeros(10_000)}}, file)
        file.write_bytes(file.read_bytes()[:20_000])
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(WeightsError, match=message) as caught:
        load_checkpoint(model, file)
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_refused(model: package.GroundingDINO, tmp_path: Path) -> None:
    file = tmp_path / "model.pth"
    state = official(model)
    state["model"]["module.extra.weight"] = torch.zeros(1)
    del state["model"]["module.feat_map.bias"]
    torch.save(state, file)
    with pytest.raises(
        WeightsError,
        match=r"1 missing \(feat_map\.bias\); 1 unexpected \(extra\.weight\)",
    ):
        load_checkpoint(model, file)

    state = official(model)
    state["model"]["module.feat_map.bias"] = torch.zeros(7)
    torch.save(state, file)
    with pytest.raises(WeightsError, match="of another shape") as caught:
        load_checkpoint(model, file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"[PAD]\n[UNK]\n",
        "".join(f"{token}\n" for token in VOCABULARY if token != "?").encode() + b"x1\n",
        b"\xff\xfe",
    ],
)
def test_other_vocabularies_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "vocab.txt"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="vocab"):
        load_tokenizer(file, len(VOCABULARY))
