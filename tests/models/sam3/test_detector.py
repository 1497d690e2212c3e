"""SAM 3 as a detector, held to transformers' own model and processor on random weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Sam3Model, Sam3Processor

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.errors import OutOfMemory, PromptError, SettingsError
from grounded_labeler.models.detectors import Options
from grounded_labeler.models.runtime.graph import Array, Arrays, Graph
from grounded_labeler.models.sam3.detector import Sam3Detector
from grounded_labeler.models.sam3.model import load_detector
from grounded_labeler.models.segmenters.geometry import SquashedSquare
from tests.models.detectors.small_models import images_of, noise
from tests.models.sam3.small_models import (
    MAX_TOKENS,
    QUERIES,
    SIDE,
    WIDTH,
    save_detector_alone,
    save_small,
)
from tests.models.segmenters.resizing import resized

pytestmark = pytest.mark.slow

SMALL, LARGE = noise(90, 150), noise(300, 40, seed=1)
CLOSE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("sam3"))


@pytest.fixture(scope="module")
def detector(folder: Path) -> Sam3Detector:
    return load_detector(folder, Options())


def reference(
    folder: Path, image: np.ndarray, phrase: str
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Boxes (Q, 4), scores (Q,) and the presence that transformers finds.

    In the image resized by Pillow: torchvision, which its processor resizes with, rounds some
    values otherwise.
    """
    processor = Sam3Processor.from_pretrained(folder)
    model = Sam3Model.from_pretrained(folder).eval()
    inputs = processor(images=Image.fromarray(image), text=phrase, return_tensors="pt")
    square = Image.fromarray(resized(SquashedSquare(SIDE), image))
    inputs["pixel_values"] = processor(images=square, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        out = model(
            **{name: inputs[name] for name in ("pixel_values", "input_ids", "attention_mask")}
        )
    [found] = processor.post_process_object_detection(
        out, threshold=0.0, target_sizes=inputs["original_sizes"].tolist()
    )
    return found["boxes"], found["scores"], float(out.presence_logits.sigmoid())


def rows_of(candidates: Candidates, column: int) -> np.ndarray:
    return np.flatnonzero(candidates.captions == column)


def test_boxes_scores_and_presence_are_those_of_transformers(
    folder: Path, detector: Sam3Detector
) -> None:
    prompts = [["a red cat", "dog"], ["a red cat"]]
    found = detector.detect(images_of([SMALL, LARGE]), prompts)
    for image, prompt, candidates in zip((SMALL, LARGE), prompts, found, strict=True):
        assert candidates.peaks.shape == (QUERIES * len(prompt), len(prompt))
        assert candidates.presence is not None
        for column, phrase in enumerate(prompt):
            boxes, scores, presence = reference(folder, image, phrase)
            rows = rows_of(candidates, column)
            scale = max(image.shape)  # boxes are fractions of it
            np.testing.assert_allclose(candidates.boxes[rows] / scale, boxes / scale, atol=CLOSE)
            np.testing.assert_allclose(candidates.peaks[rows, column], scores, atol=CLOSE)
            assert candidates.presence[column] == pytest.approx(presence, abs=CLOSE)
            assert not np.delete(candidates.peaks[rows], column, axis=1).any()
        np.testing.assert_array_equal(candidates.means, candidates.peaks)


def test_answers_differ_by_image_and_phrase(detector: Sam3Detector) -> None:
    """Lest parity hold because nothing depends on anything."""
    [one, other] = detector.detect(images_of([SMALL, noise(90, 150, seed=3)]), [["cat", "dog"]] * 2)
    boxes = [c.boxes[rows_of(c, column)] for c in (one, other) for column in (0, 1)]
    for i, these in enumerate(boxes):
        assert np.abs(these - these.mean(axis=0)).max() > 0.1  # of its queries
        for those in boxes[:i]:
            assert np.abs(these - those).max() > 0.1


def test_the_detector_alone_is_a_folder_too(tmp_path: Path) -> None:
    folder = save_detector_alone(tmp_path)
    [found] = load_detector(folder, Options()).detect(images_of([SMALL]), [["cat"]])
    boxes, scores, _ = reference(folder, SMALL, "cat")
    np.testing.assert_allclose(found.boxes, boxes, rtol=CLOSE, atol=CLOSE * 150)
    np.testing.assert_allclose(found.peaks[:, 0], scores, atol=CLOSE)


def test_pixels_are_those_of_the_processor_but_for_rounding(
    folder: Path, detector: Sam3Detector
) -> None:
    processor, prepare = Sam3Processor.from_pretrained(folder), detector._vision.prepare
    for image in (SMALL, LARGE, noise(3, 500), noise(1, 1)):
        expected = processor(images=Image.fromarray(image), return_tensors="pt")["pixel_values"][0]
        pixels = prepare(image)
        assert pixels.shape == (3, SIDE, SIDE)
        steps = np.abs(pixels - expected.numpy()) * 127.5  # of one in a value from 0 to 255
        assert steps.max() < 1.01
        assert (steps > 0.01).mean() < 0.03
    black = prepare(np.zeros((7, 9, 3), np.uint8))
    np.testing.assert_allclose(black, -1)


def test_tokens_are_those_of_the_processor(folder: Path, detector: Sam3Detector) -> None:
    texts = ["a", "a red cat", "dog " * 7, "x" * (MAX_TOKENS - 2), "naïve café"]
    read = detector._reader.read(texts)
    ids, mask = detector._reader.tokens(read)
    processor = Sam3Processor.from_pretrained(folder)
    expected = processor(text=texts, return_tensors="np")
    np.testing.assert_array_equal(ids, expected["input_ids"])
    np.testing.assert_array_equal(mask, expected["attention_mask"].astype(bool))
    assert ids.shape == (len(texts), MAX_TOKENS)


class Counts:
    """How often each part of a detector runs, and on batches of which sizes."""

    def __init__(self, detector: Sam3Detector, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: dict[str, list[int]] = {name: [] for name in detector._graphs}
        for name, graph in list(detector._graphs.items()):
            monkeypatch.setitem(detector._graphs, name, self._counted(name, graph))
        encode = detector.encode_text
        self.texts: list[list[str]] = []

        def encode_text(texts: Sequence[str]) -> Arrays:
            self.texts.append(list(texts))
            return encode(texts)

        monkeypatch.setattr(detector, "encode_text", encode_text)

    def _counted(self, name: str, graph: Graph) -> Graph:
        def run(*inputs: Array) -> Arrays:
            self.batches[name].append(len(inputs[0]))
            return graph(*inputs)

        return run


def test_an_image_and_a_phrase_are_encoded_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = load_detector(folder, Options(cache=ByteCache(2**24)))
    counts = Counts(detector, monkeypatch)
    image = images_of([SMALL])
    [first] = detector.detect(image, [["cat", "dog"]])
    [second] = detector.detect(image, [["dog", "bird", "Dog "]])
    assert counts.batches == {
        "backbone": [1], "detector_neck": [1], "text": [1] * 3, "joint": [1] * 4
    }  # fmt: skip
    assert counts.texts == [["cat"], ["dog"], ["bird"]]
    np.testing.assert_array_equal(second.boxes[rows_of(second, 0)], first.boxes[rows_of(first, 1)])
    # The same phrase in other letters is asked once, and both columns have its scores.
    np.testing.assert_array_equal(second.peaks[:, 0], second.peaks[:, 2])
    assert len(second.boxes) == 2 * QUERIES


def test_what_is_cached_is_as_small_as_said(folder: Path) -> None:
    cache = ByteCache(2**24)
    load_detector(folder, Options(cache=cache)).detect(images_of([SMALL]), [["cat"]])
    cells = SIDE // 14
    [features] = [value for value, _ in cache._kept.values() if hasattr(value, "levels")]
    assert features.nbytes == cells * cells * WIDTH * 4


def test_batches_give_what_single_runs_give(folder: Path, detector: Sam3Detector) -> None:
    images, prompts = images_of([SMALL, LARGE, noise(20, 20)]), [["cat"], ["dog", "owl"], ["cat"]]
    batched = load_detector(folder, Options(batch_size=4)).detect(images, prompts)
    for one, other in zip(batched, detector.detect(images, prompts), strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(one.peaks, other.peaks, atol=CLOSE)


@pytest.mark.parametrize("nothing", ["", "  ", "<|endoftext|>"])
def test_a_phrase_without_tokens_has_no_candidates(detector: Sam3Detector, nothing: str) -> None:
    [alone, beside] = detector.detect(images_of([SMALL, SMALL]), [[nothing], [nothing, "cat"]])
    assert alone.peaks.shape == (0, 1)
    assert alone.presence is not None
    assert alone.presence.tolist() == [0.0]
    assert beside.peaks.shape == (QUERIES, 2)
    assert not beside.peaks[:, 0].any()
    assert beside.peaks[:, 1].all()


def test_no_phrases_and_no_images(detector: Sam3Detector) -> None:
    [found] = detector.detect(images_of([SMALL]), [[]])
    assert found.peaks.shape == (0, 0)
    assert detector.detect([], []) == []


def test_half_of_a_surrogate_pair_is_no_error(detector: Sam3Detector) -> None:
    [found] = detector.detect(images_of([SMALL]), [["\ud800 cat"]])
    assert len(found.boxes) == QUERIES


def test_the_longest_phrase_is_read_and_a_longer_one_refused(detector: Sam3Detector) -> None:
    most = MAX_TOKENS - 2
    [found] = detector.detect(images_of([SMALL]), [["x" * most]])
    assert len(found.boxes) == QUERIES
    with pytest.raises(
        PromptError, match=r'"xxx.*" is 31 tokens long and the model reads at most 30'
    ):
        detector.detect(images_of([SMALL]), [["cat", "x" * (most + 1)]])
    with pytest.raises(PromptError, match="1,501 phrases"):
        detector.detect(images_of([SMALL]), [["cat"] * 1501])


def test_long_prompts_keep_the_best_boxes_of_each_phrase(
    detector: Sam3Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grounded_labeler.models.sam3.detector._MAX_ROWS", 10)
    [all_of_it] = detector.detect(images_of([SMALL]), [["cat"]])
    [found] = detector.detect(images_of([SMALL]), [["cat", "dog", "owl"]])
    best = np.sort(all_of_it.peaks[:, 0])[-3:]
    np.testing.assert_allclose(np.sort(found.peaks[rows_of(found, 0), 0]), best, atol=CLOSE)
    assert len(found.boxes) == 9


def test_a_size_to_resize_to_is_refused(folder: Path) -> None:
    with pytest.raises(SettingsError, match="DETECT_SIZE=480 has no meaning for sam3"):
        load_detector(folder, Options(short_side=480))


@pytest.mark.parametrize("part", ["backbone", "joint"])
def test_batches_are_halved_when_memory_is_short(
    folder: Path, detector: Sam3Detector, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    cramped = load_detector(folder, Options(batch_size=4))
    sizes = cramp(cramped, part, 1, monkeypatch)
    images, prompts = images_of([noise(9, 9, seed) for seed in range(3)]), [["cat"]] * 3
    found = cramped.detect(images, prompts)
    assert sizes == [3, 1, 2, 1, 1]
    for one, other in zip(found, detector.detect(images, prompts), strict=True):
        np.testing.assert_allclose(one.peaks, other.peaks, atol=CLOSE)


@pytest.mark.parametrize("part", ["backbone", "joint"])
def test_what_does_not_fit_alone_is_out_of_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    cache = ByteCache(2**24)
    cramped = load_detector(folder, Options(cache=cache))
    cramp(cramped, part, 0, monkeypatch)
    with pytest.raises(OutOfMemory):
        cramped.detect([DecodedImage.of(SMALL)], [["cat"]])
    assert len(cache) == 0


def cramp(
    detector: Sam3Detector, part: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """Let a part run out of memory on batches of more than `most`; returns their sizes."""
    graph, sizes = detector._graphs[part], []

    def run(*inputs: Array) -> Arrays:
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return graph(*inputs)

    monkeypatch.setitem(detector._graphs, part, run)
    return sizes


def test_an_image_has_an_embedding_of_its_own(detector: Sam3Detector) -> None:
    images = images_of([SMALL, LARGE, SMALL])
    vectors = detector.embed(images)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert np.allclose(vectors[0], vectors[2], atol=1e-5)
    assert vectors[0] @ vectors[1] < 0.9
