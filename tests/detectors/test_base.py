import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertTokenizerFast

from grounded_labeler.detectors.base import BatchedDetector, Pixels, refuse_keys, widen
from grounded_labeler.detectors.caption import CaptionBuilder
from grounded_labeler.detectors.device_memory import translate_memory_errors
from grounded_labeler.errors import BadRequest, OutOfMemory, WeightsError
from grounded_labeler.structures import RGBImage
from tools.make_groundingdino_golden import VOCABULARY

TOKENIZER = BertTokenizerFast(vocab={token: i for i, token in enumerate(VOCABULARY)})


class Echo(BatchedDetector):
    """One box over the left half of the image; a token's score is its id over 1000."""

    def __init__(self, batch_size: int | None = None, device: str = "cpu") -> None:
        super().__init__(CaptionBuilder(TOKENIZER.backend_tokenizer, 16), device, batch_size, 1)
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


class Short(BatchedDetector):
    """Runs out of memory on more than `room` pixels; its one box is as wide as the image is bright.

    It proposes `queries` boxes, all the same.
    """

    def __init__(self, room: int, size_hw: tuple[int, int] = (16, 24), queries: int = 6) -> None:
        captions = CaptionBuilder(TOKENIZER.backend_tokenizer, 16)
        super().__init__(captions, "cpu", 8, queries)
        self.room, self.size_hw, self.queries = room, size_hw, queries
        self.error: Exception = torch.OutOfMemoryError("CUDA out of memory.")
        self.asked: list[NDArray[np.float32]] = []
        self.captions: list[str] = []

    @property
    def sizes(self) -> list[tuple[int, int, int]]:
        """Batch, height and width of each call of the model."""
        return [(len(pixels), *pixels.shape[2:]) for pixels in self.asked]

    def prepare(self, image: RGBImage) -> Pixels:
        return np.full((3, *self.size_hw), image[0, 0, 0] / 255, np.float32)

    @translate_memory_errors()
    def run(
        self, pixels: NDArray[np.float32], captions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.asked.append(pixels)
        if pixels[:, 0].size > self.room:
            raise self.error
        self.captions += captions
        ids = TOKENIZER(list(captions), padding="max_length", max_length=16)["input_ids"]
        boxes = np.tile(np.array([0.5, 0.5, 1, 1], np.float32), (len(captions), self.queries, 1))
        boxes[:, :, 2] = pixels.mean(axis=(1, 2, 3))[:, None]
        scores = np.array(ids, np.float32) / np.float32(1000)
        return boxes, np.repeat(scores[:, None], self.queries, axis=1)


def grey(value: int) -> RGBImage:
    return np.full((20, 40, 3), value, np.uint8)


@pytest.mark.parametrize(
    ("count", "fitting", "batches"),
    [
        (8, 8, [8]),
        (8, 2, [8, 4, 2, 2, 4, 2, 2]),
        (8, 1, [8, 4, 2, 1, 1, 2, 1, 1, 4, 2, 1, 1, 2, 1, 1]),
        (5, 2, [5, 2, 3, 1, 2]),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_answered_as_if_asked_alone(
    count: int, fitting: int, batches: list[int]
) -> None:
    images = [grey(20 * i) for i in range(count)]
    asked = [[["cat", "dog", "red hat"][i % 3]] for i in range(count)]
    detector, roomy = Short(fitting * 16 * 24), Short(16 * 24)
    alone = [
        roomy.detect([image], [phrases])[0] for image, phrases in zip(images, asked, strict=True)
    ]

    found = detector.detect(images, asked)

    assert detector.sizes == [(batch, 16, 24) for batch in batches]
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.peaks, other.peaks)
        np.testing.assert_array_equal(one.means, other.means)
    assert len({one.boxes[0, 2] for one in found}) == count, "the pictures must differ"


def test_the_captions_of_one_image_keep_their_order_in_a_halved_batch() -> None:
    asked = ["efgj", "kmno", "pqrt", "cat"]
    detector = Short(16 * 24)
    (found,) = detector.detect([grey(100)], [asked])
    assert detector.captions == ["efgj . kmno .", "pqrt . cat ."]
    assert found.captions.tolist() == [0] * 6 + [1] * 6
    assert (found.peaks[0] > 0).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("size_hw", "room", "sizes"),
    [
        pytest.param((64, 96), 32 * 48, [(64, 96), (32, 48)], id="half"),
        pytest.param((64, 96), 16 * 24, [(64, 96), (32, 48), (16, 24)], id="a quarter"),
        pytest.param((67, 95), 33 * 47, [(67, 95), (33, 47)], id="odd sides"),
        pytest.param((16, 200), 8 * 100, [(16, 200), (8, 100)], id="a strip"),
    ],
)
def test_one_image_that_does_not_fit_is_looked_at_with_fewer_pixels(
    size_hw: tuple[int, int], room: int, sizes: list[tuple[int, int]]
) -> None:
    detector = Short(room, size_hw)
    (found,) = detector.detect([grey(51)], [["cat"]])
    assert detector.sizes == [(1, *size) for size in sizes]
    # A fifth as bright as white: a fifth of the 40 x 20 image given, in its own pixels.
    np.testing.assert_allclose(found.boxes, [[16, 0, 24, 20]] * 6, atol=1e-4)


def test_each_pixel_left_is_the_mean_of_those_it_stands_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (3, 32, 48)).astype(np.float32)
    detector = Short(16 * 24)
    monkeypatch.setattr(detector, "prepare", lambda _: noise)
    detector.detect([grey(0)], [["cat"]])
    quads = noise.reshape(3, 16, 2, 24, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(detector.asked[-1][0], quads, atol=1e-6)
    assert detector.asked[-1].dtype == np.float32


@pytest.mark.parametrize(
    ("size_hw", "queries", "sizes"),
    [
        # As the published models see a wide and a square picture, and a long strip.
        ((800, 1333), 900, [(800, 1333), (400, 666), (200, 333)]),
        ((800, 800), 900, [(800, 800), (400, 400)]),
        ((83, 1333), 900, [(83, 1333)]),
        ((1, 1), 1, [(1, 1)]),
    ],
)
def test_an_image_that_never_fits_is_given_up_while_the_model_still_has_a_cell_for_each_box(
    size_hw: tuple[int, int], queries: int, sizes: list[tuple[int, int]]
) -> None:
    detector = Short(0, size_hw, queries)
    with pytest.raises(OutOfMemory, match="CUDA out of memory"):
        detector.detect([grey(0)], [["cat"]])
    assert detector.sizes == [(1, *size) for size in sizes]


def test_a_batch_that_never_fits_is_given_up_with_its_first_image() -> None:
    detector = Short(0, (32, 48))
    with pytest.raises(OutOfMemory):
        detector.detect([grey(0)] * 8, [["cat"]] * 8)
    assert detector.sizes == [
        (8, 32, 48), (4, 32, 48), (2, 32, 48), (1, 32, 48), (1, 16, 24),
    ]  # fmt: skip


def test_a_batch_too_large_to_be_put_together_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, most = np.stack, 4

    def cramped(arrays: Sequence[Pixels]) -> NDArray[np.float32]:
        if len(arrays) > most:
            raise MemoryError
        return stack(arrays)

    monkeypatch.setattr(np, "stack", cramped)
    detector = Short(8 * 16 * 24)
    assert len(detector.detect([grey(0)] * 8, [["cat"]] * 8)) == 8
    assert detector.sizes == [(4, 16, 24)] * 2

    most = 0
    with pytest.raises(OutOfMemory):
        detector.detect([grey(0)], [["cat"]])


@pytest.mark.parametrize("error", [RuntimeError("selected index k out of range"), ValueError("x")])
def test_other_failures_are_not_tried_again(error: Exception) -> None:
    detector = Short(0)
    detector.error = error
    with pytest.raises(type(error)) as caught:
        detector.detect([grey(0)] * 8, [["cat"]] * 8)
    assert caught.value is error
    assert detector.sizes == [(8, 16, 24)]


def test_the_next_detection_starts_with_whole_batches_again() -> None:
    detector = Short(16 * 24)
    detector.detect([grey(0)] * 2, [["cat"]] * 2)
    detector.room *= 2
    detector.asked.clear()
    detector.detect([grey(0)] * 2, [["cat"]] * 2)
    assert detector.sizes == [(2, 16, 24)]


def test_each_reduction_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Short(16 * 24, (32, 48)).detect([grey(0)] * 2, [["cat"]] * 2)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "Out of memory on a batch of 2 at 48x32 pixels: trying 1, then 1"),
        ("WARNING", "Out of memory on one picture at 48x32 pixels: trying 24x16"),
        ("WARNING", "Out of memory on one picture at 48x32 pixels: trying 24x16"),
    ]
