import json
import logging
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForZeroShotObjectDetection,
    BertTokenizerFast,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
)

from grounded_labeler.core.boxes import box_iou
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import OutOfMemory, WeightsError
from grounded_labeler.models.detectors import Detector, Options, load_detector
from grounded_labeler.models.detectors import huggingface_build as hf
from grounded_labeler.models.runtime.graph import Arrays
from tests.models.detectors.samples import best_boxes, sample
from tests.models.detectors.small_models import (
    DEMO,
    FAMILIES,
    TINY_QUERIES,
    answer,
    cell_side,
    cramp,
    images_of,
    noise,
    save_tiny,
    with_torch,
)
from tools.train_demo_detector import vocabulary

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=list(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), request.param)


@pytest.fixture
def spoiled(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder that a test may change."""
    return shutil.copytree(folder, tmp_path / "copy")


def loaded(folder: Path, batch_size: int | None = None) -> Detector:
    return load_detector("transformers", folder, Options(batch_size=batch_size))


@pytest.mark.parametrize("size_hw", [(60, 80), (90, 50)])
def test_same_boxes_and_scores_as_the_model_s_own_processor(
    folder: Path, size_hw: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = noise(*size_hw)
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessor.from_pretrained(folder),
        BertTokenizerFast.from_pretrained(folder),
    )
    inputs = processor(
        images=Image.fromarray(image), text="red circle . star .", return_tensors="pt"
    )
    with torch.inference_mode():
        out = model(**inputs)
    (theirs,) = processor.post_process_grounded_object_detection(
        out, inputs["input_ids"], threshold=0.0, text_threshold=1.0, target_sizes=[size_hw]
    )

    detector = with_torch(hf.load(folder))
    # What it makes of images itself is compared elsewhere: of noise, some values are rounded
    # otherwise.
    pixels = inputs["pixel_values"][0].numpy()
    monkeypatch.setattr(detector, "prepare", lambda _, _patch=1: pixels)
    (found,) = detector.detect([DecodedImage.of(image)], [["red circle", "star"]])

    np.testing.assert_allclose(found.boxes, theirs["boxes"].numpy(), atol=1e-3, rtol=0)
    scores = out.logits[0].sigmoid().numpy()  # [CLS] red circle . star . [SEP]
    np.testing.assert_allclose(found.peaks[:, 0], scores[:, 1:3].max(1), atol=1e-5)
    np.testing.assert_allclose(found.means[:, 0], scores[:, 1:3].mean(1), atol=1e-5)
    np.testing.assert_allclose(found.peaks[:, 1], scores[:, 4], atol=1e-5)
    nameless = scores[:, [0, 3, 5, 6]].max(1)
    np.testing.assert_allclose(
        np.maximum(found.peaks.max(1), nameless), theirs["scores"].numpy(), atol=1e-5
    )


@pytest.mark.parametrize(
    "captions", [["red circle . star ."], ["red circle .", "a blue square . star . xyz ."]]
)
@pytest.mark.parametrize("size_hw", [(60, 80), (67, 101), (131, 50)])
def test_the_parts_answer_as_the_whole_model_does(
    folder: Path, size_hw: tuple[int, int], captions: list[str]
) -> None:
    """Sides that are whole patches and sides that are not, different captions in a batch."""
    detector = with_torch(hf.load(folder))
    images = [noise(*size_hw, seed) for seed in range(len(captions))]
    pixels = np.stack([detector.prepare(image) for image in images])
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    tokens = BertTokenizerFast.from_pretrained(folder)(captions, padding=True, return_tensors="pt")
    with torch.inference_mode():
        whole = model(pixel_values=torch.from_numpy(pixels), **tokens)
    boxes, scores = answer(detector, pixels, captions)
    np.testing.assert_allclose(boxes, whole.pred_boxes.numpy(), atol=1e-5, rtol=0)
    np.testing.assert_allclose(scores, whole.logits.sigmoid().numpy(), atol=1e-5, rtol=0)


def test_answers_do_not_depend_on_the_batch(folder: Path) -> None:
    images = images_of([noise(60, 80, seed) for seed in range(3)])
    asked = [["red circle"], ["a blue square", "star", "ring", "cat"], ["xyz", "red"]]
    alone = loaded(folder, 1).detect(images, asked)
    together = loaded(folder, 3).detect(images, asked)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.peaks, one.peaks, atol=1e-4)
        np.testing.assert_allclose(other.means, one.means, atol=1e-4)
        np.testing.assert_allclose(other.boxes, one.boxes, atol=1e-4 * 80)


def test_images_of_any_shape_in_one_call(folder: Path) -> None:
    sizes = [(48, 96), (96, 48), (64, 64), (300, 1), (1, 1), (3, 300)]
    detector = loaded(folder)
    found = detector.detect(images_of([noise(*size) for size in sizes]), [["circle", "star"]] * 6)
    for one in found:
        assert one.boxes.shape == (TINY_QUERIES, 4)
        assert one.peaks.shape == (TINY_QUERIES, 2)
        assert np.isfinite(one.boxes).all()
        assert (one.peaks > 0).all()


def test_more_phrases_than_one_caption_holds(folder: Path) -> None:
    asked = [f"{a}{b}{c}{d}" for a in "efg" for b in "efg" for c in "jk" for d in "jklm"]
    (found,) = loaded(folder).detect(images_of([noise(64, 64)]), [asked])
    assert found.peaks.shape == (2 * TINY_QUERIES, 72)
    assert ((found.peaks > 0).sum(axis=0) == TINY_QUERIES).all()


@pytest.mark.parametrize(
    ("short_side", "size_hw", "expected_hw"),
    [
        (None, (60, 80), (96, 128)),
        (None, (20, 80), (40, 160)),
        (48, (60, 80), (48, 64)),
        (48, (80, 20), (80, 20)),
    ],
)
def test_images_are_resized_as_the_folder_says_or_as_asked(
    folder: Path, short_side: int | None, size_hw: tuple[int, int], expected_hw: tuple[int, int]
) -> None:
    assert with_torch(hf.load(folder), short_side).prepare(noise(*size_hw)).shape == (
        3,
        *expected_hw,
    )


def test_loading_is_offline_and_quiet_and_leaves_logging_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("network used"))
    level = logging.getLogger("transformers").level
    loaded(folder)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("transformers").level == level


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"]
)
@pytest.mark.parametrize("content", [None, b"", b"<html>Not Found</html>", "half"])
def test_missing_or_damaged_files_are_refused(
    spoiled: Path, name: str, content: bytes | str | None
) -> None:
    file = spoiled / name
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(WeightsError) as caught:
        loaded(spoiled)
    assert str(spoiled) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_config_with_a_wrong_value_is_refused(spoiled: Path) -> None:
    config = json.loads((spoiled / "config.json").read_text())
    (spoiled / "config.json").write_text(json.dumps({**config, "d_model": "wide"}))
    with pytest.raises(WeightsError, match="incomplete or damaged"):
        loaded(spoiled)


def test_other_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "owlvit"}')
    with pytest.raises(WeightsError, match="holds a owlvit: expected grounding-dino or"):
        loaded(tmp_path)


def test_weights_that_do_not_fit_are_named(spoiled: Path) -> None:
    file = spoiled / "model.safetensors"
    weights = load_file(file)
    key = "model.text_projection.bias"
    weights["model.extra.bias"] = weights.pop(key)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(
        WeightsError,
        match=r"1 missing \(model\.text_proj.*\); 1 unexpected \(model\.extra\.bias\)",
    ):
        loaded(spoiled)

    weights[key] = torch.zeros(7)
    del weights["model.extra.bias"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError) as caught:
        loaded(spoiled)
    assert "\n" not in str(caught.value)


def test_tokenizer_with_other_ids_is_refused(spoiled: Path) -> None:
    vocab = vocabulary()
    other: dict[str, Any] = {**vocab, ".": vocab["?"], "?": vocab["."]}
    BertTokenizerFast(vocab=other).save_pretrained(spoiled)
    with pytest.raises(WeightsError, match="another model's tokenizer"):
        loaded(spoiled)


def test_code_in_a_folder_is_never_run(spoiled: Path) -> None:
    config = json.loads((spoiled / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.Own", "AutoModelForZeroShotObjectDetection": "own.Own"}
    (spoiled / "config.json").write_text(json.dumps(config))
    (spoiled / "own.py").write_text("raise SystemExit('code of the folder was run')\n")
    loaded(spoiled)


def given_to(where: str, folder: Path, height: int, width: int) -> tuple[int, int, int]:
    """The shape of what a part of a tiny model is given for an image of so many pixels."""
    side = cell_side(folder)
    return (3, height, width) if where == "backbone" else (64, height // side, width // side)


@pytest.mark.parametrize("where", ["backbone", "fusion"])
def test_a_batch_too_large_for_the_memory_is_answered_in_parts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    shape = given_to(where, folder, 96, 128)
    images = images_of([noise(60, 80, seed) for seed in range(8)])
    asked = [["red circle"], ["a blue square", "star"], ["xyz", "red"], ["cat"]] * 2
    alone = loaded(folder, 1).detect(images, asked)
    parts = hf.load(folder)
    shapes = cramp(parts, 2 * shape[1] * shape[2], monkeypatch, where)
    found = with_torch(parts, batch_size=8).detect(images, asked)
    assert shapes == [(batch, *shape) for batch in (8, 4, 2, 2, 4, 2, 2)]
    for one, other in zip(alone, found, strict=True):
        np.testing.assert_allclose(other.peaks, one.peaks, atol=1e-4)
        np.testing.assert_allclose(other.boxes, one.boxes, atol=1e-4 * 80)


@pytest.mark.parametrize("where", ["backbone", "fusion"])
def test_the_model_runs_at_the_smallest_size_that_is_tried(
    folder: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A quarter of 96 pixels has 9 cells of 8, fewer than the model proposes, but 36 of 4."""
    sides = (96, 48) if cell_side(folder) == 8 else (96, 48, 24)
    tried = [(1, *given_to(where, folder, side, side)) for side in sides]
    parts = hf.load(folder)
    shapes = cramp(parts, tried[-1][2] * tried[-1][3], monkeypatch, where)
    asked = images_of([noise(50, 50)]), [["circle"]]
    (found,) = with_torch(parts).detect(*asked)
    assert shapes == tried
    assert found.boxes.shape == (TINY_QUERIES, 4)
    assert np.isfinite(found.boxes).all()
    parts = hf.load(folder)
    shapes = cramp(parts, 0, monkeypatch, where)
    with pytest.raises(OutOfMemory):
        with_torch(parts).detect(*asked)
    assert shapes == tried


def test_an_image_that_fits_only_at_half_its_size_is_found_where_it_is(
    truth: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The demo model reads one scale only: it is given twice that, and has room for that."""
    folder = shutil.copytree(DEMO, tmp_path / "copy")
    config = json.loads((folder / "preprocessor_config.json").read_text())
    config["size"] = {name: 2 * pixels for name, pixels in config["size"].items()}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    parts = hf.load(folder)
    cramp(parts, 160 * 240, monkeypatch)
    detector, as_trained = with_torch(parts), loaded(DEMO)
    shapes: list[tuple[int, ...]] = []
    encode_image = detector.encode_image

    def watched(pixels: NDArray[np.float32]) -> Arrays:
        shapes.append(pixels.shape)
        return encode_image(pixels)

    monkeypatch.setattr(detector, "encode_image", watched)
    for name, drawn in truth.items():
        image, names = sample(name, truth)
        shapes.clear()
        (found,) = detector.detect([image], [names])
        assert len(shapes) == 2
        # The first has whole patches.
        assert [2 * side for side in shapes[1][2:]] == pytest.approx(shapes[0][2:], abs=4)
        (usual,) = as_trained.detect([image], [names])
        true = np.array([shape["box"] for shape in drawn["shapes"]], np.float32)
        assert np.diag(box_iou(best_boxes(found), best_boxes(usual))).min() >= 0.7, name
        assert np.diag(box_iou(best_boxes(found), true)).min() >= 0.7, name


def test_an_image_has_an_embedding_of_its_own(folder: Path) -> None:
    images = images_of([noise(90, 150), noise(150, 90, seed=1), noise(90, 150)])
    detector = loaded(folder)
    vectors = detector.embed(images)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert np.allclose(vectors[0], vectors[2], atol=1e-5)
    assert vectors[0] @ vectors[1] < 0.9
