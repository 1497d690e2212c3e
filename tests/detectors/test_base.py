from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from transformers import BertTokenizerFast

from grounded_labeler.detectors.base import BatchedDetector, Pixels, refuse_keys, widen
from grounded_labeler.detectors.caption import CaptionBuilder
from grounded_labeler.errors import BadRequest, WeightsError
from grounded_labeler.structures import RGBImage
from tools.make_groundingdino_golden import VOCABULARY

TOKENIZER = BertTokenizerFast(vocab={token: i for i, token in enumerate(VOCABULARY)})


class Echo(BatchedDetector):
    """One box over the left half of the image; a token's score is its id over 1000."""

    def __init__(self, batch_size: int | None = None, device: str = "cpu") -> None:
        super().__init__(CaptionBuilder(TOKENIZER.backend_tokenizer, 16), device, batch_size)
        self.batches: list[tuple[tuple[int, ...], list[str]]] = []

    def prepare(self, image: RGBImage) -> Pixels:
        side = 4 if image.shape[0] == image.shape[1] else 8
        return np.full((3, side, 4), image[0, 0, 0], np.float32)

    def run(
        self, pixels: NDArray[np.float32], captions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.batches.append((pixels.shape, list(captions)))
        ids = TOKENIZER(list(captions), padding="max_length", max_length=16)["input_ids"]
        boxes = np.tile(np.array([0.25, 0.5, 0.5, 1], np.float32), (len(captions), 1, 1))
        return boxes, (np.array(ids, np.float32) / np.float32(1000))[:, None]


def image(height: int, width: int) -> RGBImage:
    return np.zeros((height, width, 3), np.uint8)


def score(word: str) -> float:
    return VOCABULARY.index(word) / 1000


def test_answers_are_in_order_and_in_each_image_s_pixels() -> None:
    sizes = [(10, 20), (30, 30), (50, 40), (6, 6)]
    asked = [["cat"], ["dog", "hat", "cat"], [], ["red cat"]]
    found = Echo(batch_size=8).detect([image(*size) for size in sizes], asked)
    assert [len(one.boxes) for one in found] == [1, 1, 0, 1]
    assert [one.peaks.shape[1] for one in found] == [1, 3, 0, 1]
    np.testing.assert_allclose(found[0].boxes, [[0, 0, 10, 10]])
    np.testing.assert_allclose(found[1].boxes, [[0, 0, 15, 30]])
    np.testing.assert_allclose(
        found[1].peaks, [[score("dog"), score("hat"), score("cat")]], atol=1e-6
    )
    np.testing.assert_allclose(found[3].peaks, [[max(score("red"), score("cat"))]], atol=1e-6)


def test_batches_hold_one_shape_and_no_more_than_the_batch_size() -> None:
    detector = Echo(batch_size=2)
    detector.detect([image(h, 5) for h in (5, 9, 5, 5, 9)], [["cat"]] * 5)
    assert [shape for shape, _ in detector.batches] == [
        (2, 3, 4, 4), (2, 3, 8, 4), (1, 3, 4, 4),
    ]  # fmt: skip


@pytest.mark.parametrize(("device", "expected"), [("cpu", [1, 1, 1]), ("cuda", [3])])
def test_batch_size_follows_the_device(device: str, expected: list[int]) -> None:
    detector = Echo(device=device)
    detector.detect([image(5, 5)] * 3, [["cat"]] * 3)
    assert [len(captions) for _, captions in detector.batches] == expected


def test_boxes_of_several_captions_are_joined() -> None:
    asked = ["efgj", "kmno", "pqrt", "cat"]  # 5 tokens each but the last; 14 in a caption
    detector = Echo(batch_size=8)
    (found,) = detector.detect([image(20, 20)], [asked])
    assert detector.batches == [((2, 3, 4, 4), ["efgj . kmno .", "pqrt . cat ."])]
    assert found.boxes.shape == (2, 4)
    assert (found.peaks > 0).tolist() == [[True, True, False, False], [False, False, True, True]]
    assert (found.means > 0).tolist() == (found.peaks > 0).tolist()


@pytest.mark.parametrize("asked", [[], ["???"], ["?", "."]])
def test_model_is_not_run_when_nothing_is_asked(asked: list[str]) -> None:
    detector = Echo()
    (found,) = detector.detect([image(20, 20)], [asked])
    assert detector.batches == []
    assert found.boxes.shape == (0, 4)
    assert found.peaks.shape == found.means.shape == (0, len(asked))


def test_no_images_make_no_answers() -> None:
    assert Echo().detect([], []) == []


def test_too_long_phrase_is_refused_before_any_image_is_run() -> None:
    detector = Echo()
    with pytest.raises(BadRequest, match="shorten it"):
        detector.detect([image(5, 5)] * 2, [["cat"], ["cat " * 20]])
    assert detector.batches == []


@pytest.mark.parametrize(
    ("size_hw", "expected_hw"),
    [
        ((1, 1), (1, 1)),
        ((100, 1600), (100, 1600)),
        ((99, 1600), (100, 1600)),
        ((1, 40), (3, 40)),
        ((3000, 1), (3000, 188)),
    ],
)
def test_strips_are_widened(size_hw: tuple[int, int], expected_hw: tuple[int, int]) -> None:
    strip = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    wide = widen(strip)
    assert wide.shape == (*expected_hw, 3)
    assert (wide[: size_hw[0], : size_hw[1]] == strip).all()


def test_box_of_a_strip_is_in_the_strip_s_pixels() -> None:
    (found,) = Echo().detect([image(1, 40)], [["cat"]])
    # The left half of the 3 x 40 image the model saw: the strip itself is row 0 of it.
    np.testing.assert_allclose(found.boxes, [[0, 0, 20, 3]])


def test_keys_that_do_not_fit_are_named() -> None:
    refuse_keys(Path("model"), [], [])
    with pytest.raises(
        WeightsError, match=r"4 weights are missing \(a, b, c, \.\.\.\) and 1 .*\(x\)"
    ):
        refuse_keys(Path("model"), ["d", "c", "b", "a"], ["x"])
