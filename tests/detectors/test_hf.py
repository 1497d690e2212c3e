import json
import logging
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForZeroShotObjectDetection,
    BertConfig,
    BertTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    SwinConfig,
)

from grounded_labeler.boxes import box_iou
from grounded_labeler.detectors import load_detector
from grounded_labeler.detectors.hf import TransformersDetector
from grounded_labeler.errors import OutOfMemory, WeightsError
from grounded_labeler.images import decode
from grounded_labeler.pipeline import Pipeline
from grounded_labeler.structures import Boxes, Candidates, RGBImage
from tests.conftest import SAMPLES
from tools.train_demo_detector import vocabulary

QUERIES = 20
FAMILIES = {
    "grounding-dino": (GroundingDinoConfig, GroundingDinoForObjectDetection),
    "mm-grounding-dino": (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
}


def save_tiny(folder: Path, family: str) -> Path:
    """A folder as a download would be, with the smallest model of the family that runs."""
    config_class, model_class = FAMILIES[family]
    backbone = SwinConfig(
        embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    text = BertConfig(
        vocab_size=1030, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=256,
    )  # fmt: skip
    config = config_class(
        backbone_config=backbone, text_config=text, num_queries=QUERIES, d_model=64,
        encoder_layers=1, encoder_ffn_dim=64, encoder_attention_heads=4,
        decoder_layers=2, decoder_ffn_dim=64, decoder_attention_heads=4, num_feature_levels=4,
    )  # fmt: skip
    torch.manual_seed(5)
    model = model_class(config)
    for parameter in model.parameters():
        # As drawn, boxes start from zero layers: every query would answer alike.
        parameter.data += torch.randn_like(parameter) * 0.02
    model.save_pretrained(folder)
    BertTokenizerFast(vocab=vocabulary(), do_lower_case=True).save_pretrained(folder)
    size = {"shortest_edge": 96, "longest_edge": 160}
    GroundingDinoImageProcessor(size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=list(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), request.param)


@pytest.fixture
def spoiled(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder that a test may change."""
    return shutil.copytree(folder, tmp_path / "copy")


def noise(height: int, width: int, seed: int = 0) -> RGBImage:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size_hw", [(60, 80), (90, 50)])
def test_same_boxes_and_scores_as_the_model_s_own_processor(
    folder: Path, size_hw: tuple[int, int]
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

    (found,) = load_detector("transformers", folder, "cpu").detect(
        [image], [["red circle", "star"]]
    )

    np.testing.assert_allclose(found.boxes, theirs["boxes"].numpy(), atol=1e-3, rtol=0)
    scores = out.logits[0].sigmoid().numpy()  # [CLS] red circle . star . [SEP]
    np.testing.assert_allclose(found.peaks[:, 0], scores[:, 1:3].max(1), atol=1e-5)
    np.testing.assert_allclose(found.means[:, 0], scores[:, 1:3].mean(1), atol=1e-5)
    np.testing.assert_allclose(found.peaks[:, 1], scores[:, 4], atol=1e-5)
    nameless = scores[:, [0, 3, 5, 6]].max(1)
    np.testing.assert_allclose(
        np.maximum(found.peaks.max(1), nameless), theirs["scores"].numpy(), atol=1e-5
    )


def test_answers_do_not_depend_on_the_batch(folder: Path) -> None:
    images = [noise(60, 80, seed) for seed in range(3)]
    asked = [["red circle"], ["a blue square", "star", "ring", "cat"], ["xyz", "red"]]
    alone = load_detector("transformers", folder, "cpu", batch_size=1).detect(images, asked)
    together = load_detector("transformers", folder, "cpu", batch_size=3).detect(images, asked)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.peaks, one.peaks, atol=1e-4)
        np.testing.assert_allclose(other.means, one.means, atol=1e-4)
        np.testing.assert_allclose(other.boxes, one.boxes, atol=1e-4 * 80)


def test_images_of_any_shape_in_one_call(folder: Path) -> None:
    sizes = [(48, 96), (96, 48), (64, 64), (300, 1), (1, 1), (3, 300)]
    detector = load_detector("transformers", folder, "cpu")
    found = detector.detect([noise(*size) for size in sizes], [["circle", "star"]] * 6)
    for one in found:
        assert one.boxes.shape == (QUERIES, 4)
        assert one.peaks.shape == (QUERIES, 2)
        assert np.isfinite(one.boxes).all()
        assert (one.peaks > 0).all()


def test_more_phrases_than_one_caption_holds(folder: Path) -> None:
    asked = [f"{a}{b}{c}{d}" for a in "efg" for b in "efg" for c in "jk" for d in "jklm"]
    (found,) = load_detector("transformers", folder, "cpu").detect([noise(64, 64)], [asked])
    assert found.peaks.shape == (2 * QUERIES, 72)
    assert ((found.peaks > 0).sum(axis=0) == QUERIES).all()


def test_loading_is_offline_and_quiet_and_leaves_logging_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("network used"))
    level = logging.getLogger("transformers").level
    load_detector("transformers", folder, "cpu")
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
        load_detector("transformers", spoiled, "cpu")
    assert str(spoiled) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_config_with_a_wrong_value_is_refused(spoiled: Path) -> None:
    config = json.loads((spoiled / "config.json").read_text())
    (spoiled / "config.json").write_text(json.dumps({**config, "d_model": "wide"}))
    with pytest.raises(WeightsError, match="incomplete or damaged"):
        load_detector("transformers", spoiled, "cpu")


def test_other_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "owlvit"}')
    with pytest.raises(WeightsError, match="holds a owlvit: expected grounding-dino or"):
        load_detector("transformers", tmp_path, "cpu")


def test_weights_that_do_not_fit_are_named(spoiled: Path) -> None:
    file = spoiled / "model.safetensors"
    weights = load_file(file)
    key = "model.text_projection.bias"
    weights["model.extra.bias"] = weights.pop(key)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(
        WeightsError,
        match=r"1 weights are missing \(model\.text_proj.*\) and 1 .*\(model\.extra\.bias\)",
    ):
        load_detector("transformers", spoiled, "cpu")

    weights[key] = torch.zeros(7)
    del weights["model.extra.bias"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError) as caught:
        load_detector("transformers", spoiled, "cpu")
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_never_read(spoiled: Path) -> None:
    weights = load_file(spoiled / "model.safetensors")
    (spoiled / "model.safetensors").unlink()
    torch.save(weights, spoiled / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="incomplete or damaged"):
        load_detector("transformers", spoiled, "cpu")


def test_tokenizer_with_other_ids_is_refused(spoiled: Path) -> None:
    vocab = vocabulary()
    other: dict[str, Any] = {**vocab, ".": vocab["?"], "?": vocab["."]}
    BertTokenizerFast(vocab=other).save_pretrained(spoiled)
    with pytest.raises(WeightsError, match="another model's tokenizer"):
        load_detector("transformers", spoiled, "cpu")


def test_code_in_a_folder_is_never_run(spoiled: Path) -> None:
    config = json.loads((spoiled / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.Own", "AutoModelForZeroShotObjectDetection": "own.Own"}
    (spoiled / "config.json").write_text(json.dumps(config))
    (spoiled / "own.py").write_text("raise SystemExit('code of the folder was run')\n")
    load_detector("transformers", spoiled, "cpu")


def cramp(
    detector: TransformersDetector, room: int, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, ...]]:
    """Let the model fail for memory on more than `room` pixels; returns the shapes it is given."""
    shapes: list[tuple[int, ...]] = []
    forward = detector.model.forward

    def cramped(pixel_values: torch.Tensor, **inputs: Any) -> object:
        shapes.append(tuple(pixel_values.shape))
        if pixel_values[:, 0].numel() > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(pixel_values=pixel_values, **inputs)

    monkeypatch.setattr(detector.model, "forward", cramped)
    return shapes


def loaded(folder: Path, batch_size: int) -> TransformersDetector:
    detector = load_detector("transformers", folder, "cpu", batch_size=batch_size)
    assert isinstance(detector, TransformersDetector)
    return detector


def test_a_batch_too_large_for_the_memory_is_answered_in_parts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [noise(60, 80, seed) for seed in range(8)]
    asked = [["red circle"], ["a blue square", "star"], ["xyz", "red"], ["cat"]] * 2
    alone = loaded(folder, 1).detect(images, asked)
    detector = loaded(folder, 8)
    shapes = cramp(detector, 2 * 96 * 128, monkeypatch)
    found = detector.detect(images, asked)
    assert shapes == [(batch, 3, 96, 128) for batch in (8, 4, 2, 2, 4, 2, 2)]
    for one, other in zip(alone, found, strict=True):
        np.testing.assert_allclose(other.peaks, one.peaks, atol=1e-4)
        np.testing.assert_allclose(other.boxes, one.boxes, atol=1e-4 * 80)


def test_the_model_runs_at_the_smallest_size_that_is_tried(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = loaded(folder, 1)
    shapes = cramp(detector, 48 * 48, monkeypatch)
    (found,) = detector.detect([noise(50, 50)], [["circle"]])
    assert shapes == [(1, 3, 96, 96), (1, 3, 48, 48)]
    assert found.boxes.shape == (QUERIES, 4)
    detector = loaded(folder, 1)
    shapes = cramp(detector, 0, monkeypatch)
    with pytest.raises(OutOfMemory):
        detector.detect([noise(50, 50)], [["circle"]])
    assert shapes == [(1, 3, 96, 96), (1, 3, 48, 48)]


def best_boxes(found: Candidates) -> Boxes:
    """The best box of each phrase, (P, 4)."""
    boxes: Boxes = found.boxes[found.peaks.argmax(axis=0)]
    return boxes


def test_a_picture_that_fits_only_at_half_its_size_is_found_where_it_is(
    demo_pipeline: Pipeline,
    truth: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The demo model reads one scale only: it is given twice that, and has room for that."""
    folder = shutil.copytree(SAMPLES.parent / "weights" / "detector", tmp_path / "copy")
    config = json.loads((folder / "preprocessor_config.json").read_text())
    config["size"] = {name: 2 * pixels for name, pixels in config["size"].items()}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    detector = loaded(folder, 1)
    shapes = cramp(detector, 160 * 240, monkeypatch)
    for name, drawn in truth.items():
        image = decode((SAMPLES / name).read_bytes(), max_pixels=10**7)
        names = [shape["name"] for shape in drawn["shapes"]]
        shapes.clear()
        (found,) = detector.detect([image], [names])
        assert len(shapes) == 2
        assert [2 * side for side in shapes[1][2:]] == pytest.approx(shapes[0][2:], abs=1)
        (usual,) = demo_pipeline.detector.detect([image], [names])
        true = np.array([shape["box"] for shape in drawn["shapes"]], np.float32)
        assert np.diag(box_iou(best_boxes(found), best_boxes(usual))).min() >= 0.7, name
        assert np.diag(box_iou(best_boxes(found), true)).min() >= 0.7, name
