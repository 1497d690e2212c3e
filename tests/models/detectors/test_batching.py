"""Batches, cached features and short memory, on models that are a few lines."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertTokenizerFast

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.inference import InferenceRequest
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import Candidates, DecodedImage, RGBImage, Thresholds
from grounded_labeler.errors import BadRequest, OutOfMemory
from grounded_labeler.models.detectors import Options
from grounded_labeler.models.detectors.batching import in_batches
from grounded_labeler.models.detectors.facts import DetectorFacts
from grounded_labeler.models.detectors.grounding_dino import GroundingDetector
from grounded_labeler.models.detectors.official import IMAGES
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.pixels import Pixels
from grounded_labeler.models.runtime.device import Compute, Runtime
from grounded_labeler.models.runtime.graph import Array, Arrays, Graphs
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors
from tools.make_groundingdino_golden import VOCABULARY

pytestmark = pytest.mark.slow

TOKENIZER = BertTokenizerFast(vocab={token: i for i, token in enumerate(VOCABULARY)})


class Engine(GroundingDetector):
    """Its features are the pixels themselves, its text the ids of tokens and the caption's letters.

    A token's score is its id over 1000. It notes what it is given, and keeps `keep` bytes.
    """

    def __init__(
        self,
        batch_size: int | None,
        device: str = "cpu",
        queries: int = 1,
        keep: int = 0,
    ) -> None:
        facts = DetectorFacts(16, queries, 8, (), replace(IMAGES, size=(800, 10**6)))
        graphs = Graphs({}, Runtime("none", "fp32", 1))
        options = Options(Compute(device), batch_size, cache=ByteCache(keep))
        super().__init__(facts, TOKENIZER.backend_tokenizer, graphs, options)
        self.queries = queries
        self.encoded: list[NDArray[np.float32]] = []
        self.texts: list[list[str]] = []
        self.decoded: list[tuple[tuple[int, ...], list[str]]] = []

    def encode_image(self, pixels: Array) -> Arrays:
        self.encoded.append(Graphs.to_numpy(pixels))
        return (pixels,)

    def encode_text(self, captions: Sequence[str]) -> Arrays:
        self.texts.append(list(captions))
        ids = TOKENIZER(list(captions), padding="max_length", max_length=16)["input_ids"]
        letters = [list(caption.ljust(64).encode()) for caption in captions]
        return np.array(ids), np.array(letters)

    def decode(
        self, levels: Sequence[Arrays], text: Arrays
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        pixels = Graphs.to_numpy(Graphs.stack([level for (level,) in levels]))
        ids, letters = map(Graphs.to_numpy, text)
        captions = [bytes(row.tolist()).decode().rstrip() for row in letters]
        self.decoded.append((pixels.shape, captions))
        scores = (ids.astype(np.float32) / np.float32(1000))[:, None]
        boxes = np.repeat(self.boxes(pixels)[:, None], self.queries, axis=1)
        return boxes, np.repeat(scores, self.queries, axis=1)

    def boxes(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """One box (B, 4) for each image, cxcywh as fractions."""
        raise NotImplementedError


class Echo(Engine):
    """One box over the left half of the image."""

    prepared = 0

    def prepare(self, image: RGBImage, patch: int = 1) -> Pixels:
        self.prepared += 1
        side = 4 if image.shape[0] == image.shape[1] else 8
        return np.full((3, side, 4), image[0, 0, 0], np.float32)

    def boxes(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.tile(np.array([0.25, 0.5, 0.5, 1], np.float32), (len(pixels), 1))


def make_image(height: int, width: int, value: int = 0) -> DecodedImage:
    return DecodedImage.of(np.full((height, width, 3), value, np.uint8))


def score(word: str) -> float:
    return VOCABULARY.index(word) / 1000


def count_runs(detector: Engine) -> tuple[int, int, int]:
    """How often it encoded images and texts and decoded; the count begins again."""
    counts = len(detector.encoded), len(detector.texts), len(detector.decoded)
    for calls in (detector.encoded, detector.texts, detector.decoded):
        calls.clear()
    return counts


def test_answers_are_in_order_and_in_each_image_s_pixels() -> None:
    sizes = [(10, 20), (30, 30), (50, 40), (6, 6)]
    asked = [["cat"], ["dog", "hat", "cat"], [], ["red cat"]]
    found = Echo(batch_size=8).detect([make_image(*size) for size in sizes], asked)
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
    heights = (5, 9, 5, 5, 9)
    detector.detect([make_image(h, 5, value) for value, h in enumerate(heights)], [["cat"]] * 5)
    expected = [(2, 3, 4, 4), (2, 3, 8, 4), (1, 3, 4, 4)]
    assert [pixels.shape for pixels in detector.encoded] == expected
    assert [shape for shape, _ in detector.decoded] == expected


@pytest.mark.parametrize(("device", "expected"), [("cpu", [1] * 4), ("cuda", [4])])
def test_batch_size_follows_the_device(device: str, expected: list[int]) -> None:
    detector = Echo(None, device)
    detector.detect([make_image(5, 5, value) for value in range(4)], [["cat"]] * 4)
    assert [len(pixels) for pixels in detector.encoded] == expected
    assert [len(captions) for _, captions in detector.decoded] == expected


def test_boxes_of_several_captions_are_joined() -> None:
    asked = ["efgj", "kmno", "pqrt", "cat"]  # 5 tokens each but the last; 14 in a caption
    detector = Echo(batch_size=8)
    (found,) = detector.detect([make_image(20, 20)], [asked])
    assert detector.decoded == [((2, 3, 4, 4), ["efgj . kmno .", "pqrt . cat ."])]
    assert [pixels.shape for pixels in detector.encoded] == [(1, 3, 4, 4)]
    assert found.boxes.shape == (2, 4)
    assert (found.peaks > 0).tolist() == [[True, True, False, False], [False, False, True, True]]
    assert (found.means > 0).tolist() == (found.peaks > 0).tolist()


@pytest.mark.parametrize("asked", [[], ["???"], ["?", "."]])
def test_model_is_not_run_when_nothing_is_asked(asked: list[str]) -> None:
    detector = Echo(1)
    (found,) = detector.detect([make_image(20, 20)], [asked])
    assert count_runs(detector) == (0, 0, 0)
    assert found.boxes.shape == (0, 4)
    assert found.peaks.shape == found.means.shape == (0, len(asked))


def test_no_images_make_no_answers() -> None:
    assert Echo(1).detect([], []) == []


def test_too_long_phrase_is_refused_before_any_image_is_run() -> None:
    detector = Echo(1)
    with pytest.raises(BadRequest, match="shorten it"):
        detector.detect([make_image(5, 5)] * 2, [["cat"], ["cat " * 20]])
    assert count_runs(detector) == (0, 0, 0)


def test_box_of_a_strip_is_in_the_strip_s_pixels() -> None:
    (found,) = Echo(1).detect([make_image(1, 40)], [["cat"]])
    # The left half of the 3 x 40 image the model saw: the strip itself is row 0 of it.
    np.testing.assert_allclose(found.boxes, [[0, 0, 20, 3]])


def test_what_is_known_of_an_image_or_a_caption_is_not_made_again() -> None:
    detector = Echo(1, keep=10**6)
    one, other = make_image(20, 20, 1), make_image(20, 20, 2)
    detector.detect([one], [["cat"]])
    assert count_runs(detector) == (1, 1, 1)
    detector.detect([one], [["dog"]])
    assert count_runs(detector) == (0, 1, 1), "another prompt on the same image"
    detector.detect([other], [["cat"]])
    assert count_runs(detector) == (1, 0, 1), "the same prompt on another image"
    detector.detect([make_image(20, 20, 1)], [["cat"]])
    assert count_runs(detector) == (0, 0, 1), "the same image, decoded again"
    detector.detect([one, other], [["cat", "dog"]] * 2)
    assert count_runs(detector) == (0, 1, 2), "both in one call"


def test_an_image_given_twice_is_looked_at_once_and_answered_twice() -> None:
    detector = Echo(8)
    twice = make_image(20, 20, 1)
    found = detector.detect([twice, make_image(20, 20, 2), twice], [["cat"], ["cat"], ["dog"]])
    assert detector.prepared == 2
    assert [len(pixels) for pixels in detector.encoded] == [2]
    assert [captions for _, captions in detector.decoded] == [["cat .", "cat .", "dog ."]]
    expected = [[[score(word)]] for word in ("cat", "cat", "dog")]
    np.testing.assert_allclose([one.peaks for one in found], expected, atol=1e-6)


def test_captions_are_known_again_only_in_the_same_batch() -> None:
    """What is made of a caption is as long as the longest of its batch."""
    detector = Echo(2, keep=10**6)
    images = [make_image(20, 20, value) for value in range(2)]
    for asked in ([["cat"], ["dog"]], [["dog"], ["cat"]], [["cat"], ["dog"]]):
        detector.detect(images, asked)
    assert detector.texts == [["cat .", "dog ."], ["dog .", "cat ."]]
    assert [captions for _, captions in detector.decoded] == [
        ["cat .", "dog ."], ["dog .", "cat ."], ["cat .", "dog ."],
    ]  # fmt: skip


def test_with_no_room_to_keep_anything_the_answers_are_the_same() -> None:
    forgetful, keeping = Echo(1), Echo(1, keep=10**6)
    for _ in range(2):
        given = [make_image(20, 20, 1), make_image(9, 30, 2)], [["cat", "red hat"], ["dog"]]
        for one, other in zip(forgetful.detect(*given), keeping.detect(*given), strict=True):
            assert_same(one, other)
    assert count_runs(forgetful) == (4, 4, 4)
    assert count_runs(keeping) == (2, 2, 4)


def test_an_image_that_is_forgotten_is_looked_at_again() -> None:
    one, other = make_image(20, 20, 1), make_image(20, 20, 2)
    detector = Echo(1, keep=3 * 4 * 4 * 4)  # one image's features, no text
    for shown in (one, one, other, one):
        detector.detect([shown], [["cat"]])
    assert [pixels[0, 0, 0, 0] for pixels in detector.encoded] == [1, 2, 1]


class Short(Engine):
    """Runs out of memory on more than `room` pixels; its one box is as wide as the image is bright.

    `where` is the method that does. It proposes `queries` boxes, all the same.
    """

    def __init__(
        self,
        room: int,
        size_hw: tuple[int, int] = (16, 24),
        queries: int = 6,
        where: str = "encode_image",
        keep: int = 0,
    ) -> None:
        super().__init__(8, queries=queries, keep=keep)
        self.room, self.size_hw, self.where = room, size_hw, where
        self.error: Exception = torch.OutOfMemoryError("CUDA out of memory.")
        self.captions: list[str] = []

    @property
    def sizes(self) -> dict[str, list[tuple[int, int, int]]]:
        """Batch, height and width of each call of the methods."""
        return {
            "encode_image": [(len(pixels), *pixels.shape[2:]) for pixels in self.encoded],
            "decode": [(shape[0], shape[2], shape[3]) for shape, _ in self.decoded],
        }

    def prepare(self, image: RGBImage, patch: int = 1) -> Pixels:
        return np.full((3, *self.size_hw), image[0, 0, 0] / 255, np.float32)

    @translate_memory_errors()
    def encode_image(self, pixels: Array) -> Arrays:
        features = super().encode_image(pixels)
        self._fill("encode_image", Graphs.to_numpy(pixels)[:, 0].size)
        return features

    @translate_memory_errors()
    def decode(
        self, levels: Sequence[Arrays], text: Arrays
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        answers = super().decode(levels, text)
        self._fill("decode", sum(Graphs.to_numpy(level)[:, 0].size for (level,) in levels))
        self.captions += self.decoded[-1][1]
        return answers

    def _fill(self, where: str, pixels: int) -> None:
        if where == self.where and pixels > self.room:
            raise self.error

    def boxes(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        boxes = np.tile(np.array([0.5, 0.5, 1, 1], np.float32), (len(pixels), 1))
        boxes[:, 2] = pixels.mean(axis=(1, 2, 3))
        return boxes


def grey(value: int) -> DecodedImage:
    return make_image(20, 40, value)


def greys(count: int) -> list[DecodedImage]:
    """Images that all differ."""
    return [grey(20 * number) for number in range(count)]


def assert_same(one: Candidates, other: Candidates) -> None:
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, vars(other)[name], name)


WHERE = pytest.mark.parametrize("where", ["encode_image", "decode"])


@WHERE
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
    where: str, count: int, fitting: int, batches: list[int]
) -> None:
    images = greys(count)
    asked = [[["cat", "dog", "red hat"][i % 3]] for i in range(count)]
    detector, roomy = Short(fitting * 16 * 24, where=where), Short(16 * 24)
    alone = [roomy.detect([one], [phrases])[0] for one, phrases in zip(images, asked, strict=True)]

    found = detector.detect(images, asked)

    whole = {"encode_image": [(count, 16, 24)], "decode": [(count, 16, 24)]}
    assert detector.sizes == whole | {where: [(batch, 16, 24) for batch in batches]}
    for one, other in zip(found, alone, strict=True):
        assert_same(one, other)
    assert len({one.boxes[0, 2] for one in found}) == count, "the images must differ"


@pytest.mark.parametrize(
    ("where", "size_hw", "asked"),
    [
        ("encode_image", (16, 24), [(2, 16, 24)]),
        ("decode", (16, 24), [(2, 16, 24), (1, 16, 24), (1, 16, 24)]),
        ("encode_image", (32, 48), [(2, 16, 24)]),
        ("decode", (32, 48), [(2, 32, 48), *[(1, 32, 48), (1, 16, 24)] * 2]),
    ],
)
def test_the_captions_of_one_image_keep_their_order_in_a_halved_batch(
    where: str, size_hw: tuple[int, int], asked: list[tuple[int, int, int]]
) -> None:
    phrases = ["efgj", "kmno", "pqrt", "cat"]
    detector = Short(16 * 24, size_hw, where=where)
    (found,) = detector.detect([grey(100)], [phrases])
    assert detector.sizes["decode"] == asked
    assert detector.captions == ["efgj . kmno .", "pqrt . cat ."]
    assert found.captions.tolist() == [0] * 6 + [1] * 6
    assert (found.peaks[0] > 0).tolist() == [True, True, False, False]
    assert (found.peaks[6] > 0).tolist() == [False, False, True, True]


@WHERE
def test_the_captions_of_several_images_keep_their_order_in_a_halved_batch(where: str) -> None:
    """Five passes in a batch of eight: some of the halves end within an image."""
    long, short = ["efgj", "kmno", "pqrt", "uvwx"], ["dog"]
    asked = [long, short, long]
    images = greys(3)
    detector, roomy = Short(16 * 24, where=where), Short(8 * 16 * 24)
    alone = [roomy.detect([one], [phrases])[0] for one, phrases in zip(images, asked, strict=True)]
    for one, other in zip(detector.detect(images, asked), alone, strict=True):
        assert_same(one, other)
    halves = ["efgj . kmno .", "pqrt . uvwx ."]
    assert detector.captions == [*halves, "dog .", *halves]


@WHERE
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
    where: str, size_hw: tuple[int, int], room: int, sizes: list[tuple[int, int]]
) -> None:
    detector = Short(room, size_hw, where=where)
    (found,) = detector.detect([grey(51)], [["cat"]])
    tried = [(1, *size) for size in sizes]
    assert detector.sizes == {
        "encode_image": tried,
        "decode": tried if where == "decode" else tried[-1:],
    }
    # A fifth as bright as white: a fifth of the 40 x 20 image given, in its own pixels.
    np.testing.assert_allclose(found.boxes, [[16, 0, 24, 20]] * 6, atol=1e-4)


def test_only_the_image_that_does_not_fit_is_looked_at_with_fewer_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others of its batch are asked as they were seen."""
    detector = Short(10**6, (32, 48), where="decode")
    fill = detector._fill

    def cramped(where: str, pixels: int) -> None:
        letters = detector.decoded[-1][1] if where == "decode" else []
        fill(where, 10**7 if "dog ." in letters and pixels > 16 * 24 else pixels)

    monkeypatch.setattr(detector, "_fill", cramped)
    found = detector.detect(greys(4), [["cat"], ["hat"], ["dog"], ["red"]])
    assert detector.sizes["decode"] == [
        (4, 32, 48), (2, 32, 48), (2, 32, 48), (1, 32, 48), (1, 16, 24), (1, 32, 48),
    ]  # fmt: skip
    assert detector.sizes["encode_image"] == [(4, 32, 48), (1, 16, 24)]
    assert detector.captions == ["cat .", "hat .", "dog .", "red ."]
    words = [[[score(word)]] * 6 for word in ("cat", "hat", "dog", "red")]
    np.testing.assert_allclose([one.peaks for one in found], words, atol=1e-6)
    widths = [40 * 20 * number / 255 for number in range(4)]
    np.testing.assert_allclose(
        [one.boxes[0, 2] - one.boxes[0, 0] for one in found], widths, atol=1e-4
    )


def test_what_was_kept_is_given_up_when_memory_is_short() -> None:
    detector = Short(32 * 48, (32, 48), where="decode", keep=10**6)
    for value in (20, 51, 20, 51):
        detector.detect([grey(value)], [["cat"]])
    assert detector.sizes["encode_image"] == [(1, 32, 48)] * 2, "each image once"
    detector.room = 16 * 24
    detector.detect([grey(20)], [["cat"]])
    assert detector.sizes["encode_image"][2:] == [(1, 16, 24)]
    detector.room = 32 * 48
    for value in (20, 51):
        detector.detect([grey(value)], [["cat"]])
    assert detector.sizes["encode_image"][3:] == [(1, 32, 48)] * 2, "each again, with all pixels"


@WHERE
def test_what_was_seen_with_fewer_pixels_is_said_to_be_coarse(where: str) -> None:
    detector = Short(32 * 48, (32, 48), where=where)
    asked = [["efgj", "kmno", "pqrt", "cat"]]  # two captions
    assert [one.is_coarse for one in detector.detect([grey(51)], asked)] == [False]
    detector.room = 16 * 24
    assert [one.is_coarse for one in detector.detect([grey(51)], asked)] == [True]
    assert [one.is_coarse for one in detector.detect([grey(51)], [[]])] == [False]


@WHERE
def test_the_next_request_has_all_pixels_looked_at_again(where: str) -> None:
    """What a moment without memory gave is answered with, and not kept."""
    detector = Short(16 * 24, (32, 48), where=where, keep=10**6)
    pipeline = Pipeline(detector, None, ByteCache(10**6))
    limits = Thresholds(box=0, text=0, nms=1, max_regions=10)
    asked = InferenceRequest(grey(51), parse_prompt("cat", ()), (), limits, with_masks=False)
    for room, looked in ((16 * 24, (1, 16, 24)), (32 * 48, (1, 32, 48))):
        detector.room = room
        [found] = pipeline.run([asked])
        assert len(found.detections) > 0
        assert (detector.sizes["decode"][-1], detector.sizes["encode_image"][-1]) == (
            looked,
            looked,
        )
    runs = len(detector.sizes["decode"])
    pipeline.run([asked])
    assert len(detector.sizes["decode"]) == runs, "now it is kept"


@WHERE
def test_each_pixel_left_is_the_mean_of_those_it_stands_for(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (3, 32, 48)).astype(np.float32)
    detector = Short(16 * 24, where=where)
    monkeypatch.setattr(detector, "prepare", lambda _, _patch=1: noise)
    detector.detect([grey(0)], [["cat"]])
    quads = noise.reshape(3, 16, 2, 24, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(detector.encoded[-1][0], quads, atol=1e-6)
    assert detector.encoded[-1].dtype == np.float32


@WHERE
@pytest.mark.parametrize(
    ("size_hw", "queries", "sizes"),
    [
        # As the published models see a wide and a square image, and a long strip.
        ((800, 1333), 900, [(800, 1333), (400, 666), (200, 333)]),
        ((800, 800), 900, [(800, 800), (400, 400)]),
        ((83, 1333), 900, [(83, 1333)]),
        ((1, 1), 1, [(1, 1)]),
    ],
)
def test_an_image_that_never_fits_is_given_up_while_the_model_still_has_a_cell_for_each_box(
    where: str, size_hw: tuple[int, int], queries: int, sizes: list[tuple[int, int]]
) -> None:
    detector = Short(0, size_hw, queries, where)
    with pytest.raises(OutOfMemory, match="CUDA out of memory"):
        detector.detect([grey(0)], [["cat"]])
    tried = [(1, *size) for size in sizes]
    assert detector.sizes == {"encode_image": tried, "decode": tried if where == "decode" else []}


def test_a_batch_that_never_fits_is_given_up_with_its_first_image() -> None:
    halves = [(8, 32, 48), (4, 32, 48), (2, 32, 48), (1, 32, 48), (1, 16, 24)]
    detector = Short(0, (32, 48))
    with pytest.raises(OutOfMemory):
        detector.detect(greys(8), [["cat"]] * 8)
    assert detector.sizes == {"encode_image": halves, "decode": []}

    detector = Short(0, (32, 48), where="decode")
    with pytest.raises(OutOfMemory):
        detector.detect(greys(8), [["cat"]] * 8)
    assert detector.sizes == {"encode_image": [(8, 32, 48), (1, 16, 24)], "decode": halves}


def test_a_batch_too_large_to_be_put_together_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    concatenate, detector = np.concatenate, Short(8 * 16 * 24)

    def cramped(arrays: Sequence[Any], *args: Any, **named: Any) -> NDArray[Any]:
        if len(arrays) > 4 and len(detector.encoded) < 2:
            raise MemoryError
        return concatenate(arrays, *args, **named)

    monkeypatch.setattr(np, "concatenate", cramped)
    assert len(detector.detect(greys(8), [["cat"]] * 8)) == 8
    assert detector.sizes == {"encode_image": [(4, 16, 24)] * 2, "decode": [(8, 16, 24)]}


@WHERE
@pytest.mark.parametrize("error", [RuntimeError("selected index k out of range"), ValueError("x")])
def test_other_failures_are_not_tried_again(where: str, error: Exception) -> None:
    detector = Short(0, where=where)
    detector.error = error
    with pytest.raises(type(error)) as caught:
        detector.detect(greys(8), [["cat"]] * 8)
    assert caught.value is error
    assert detector.sizes[where] == [(8, 16, 24)]


@WHERE
def test_the_next_detection_starts_with_whole_batches_again(where: str) -> None:
    detector = Short(16 * 24, where=where)
    detector.detect(greys(2), [["cat"]] * 2)
    detector.room *= 2
    count_runs(detector)
    detector.detect(greys(2), [["cat"]] * 2)
    assert detector.sizes == {"encode_image": [(2, 16, 24)], "decode": [(2, 16, 24)]}


@WHERE
def test_each_reduction_is_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture, where: str
) -> None:
    caplog.set_level(logging.INFO)
    Short(16 * 24, (32, 48), where=where).detect(greys(2), [["cat"]] * 2)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "Out of memory on a batch of 2 at 48x32 pixels: trying 1, then 1"),
        ("WARNING", "Out of memory on one image at 48x32 pixels: trying 24x16"),
        ("WARNING", "Out of memory on one image at 48x32 pixels: trying 24x16"),
    ]


@pytest.mark.parametrize(
    ("counts", "size", "least", "expected"),
    [
        ({"a": 5, "b": 1}, 2, 1, ["aa", "aa", "a", "b"]),
        ({"a": 8, "b": 3}, 8, 4, ["aaaaaaaa", "b", "b", "b"]),
        ({"a": 4, "b": 2}, 8, 4, ["aaaa", "b", "b"]),
        ({"a": 5}, 2, 4, ["aa", "aa", "a"]),
    ],
)
def test_few_of_a_shape_come_one_by_one(
    counts: dict[str, int], size: int, least: int, expected: list[str]
) -> None:
    items = [name for name, count in counts.items() for _ in range(count)]
    batches = in_batches(items, lambda name: name, size, least)
    assert ["".join(batch) for batch in batches] == expected
