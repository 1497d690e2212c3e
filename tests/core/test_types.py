"""Arrays are checked where they are made."""

import pickle
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from grounded_labeler.core.types import Candidates, Detections, Mask, PackedMask


def test_empty_detections_have_the_right_shapes() -> None:
    empty = Detections.empty()
    assert len(empty) == 0
    assert empty.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("boxes", "scores", "phrases", "message"),
    [
        (np.zeros((2, 4), np.float64), np.zeros(2, np.float32), ("a", "b"), "float32"),
        (np.zeros((2, 5), np.float32), np.zeros(2, np.float32), ("a", "b"), r"\(2, 5\)"),
        (np.zeros((2, 4), np.float32), np.zeros(3, np.float32), ("a", "b"), r"scores .*\(3,\)"),
        (np.zeros((2, 4), np.float32), np.zeros(2, np.float32), ("a",), "phrases .* got 1"),
    ],
)
def test_wrong_arrays_say_what_was_expected(
    boxes: np.ndarray, scores: np.ndarray, phrases: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Detections(boxes, scores, phrases, (None,) * len(phrases))


def test_candidates_without_phrases() -> None:
    none = np.zeros((0, 0), np.float32)
    boxes, captions = np.zeros((0, 4), np.float32), np.zeros(0, np.intp)
    assert Candidates(boxes, none, none, captions).peaks.shape == (0, 0)


def test_candidates_have_one_presence_a_phrase() -> None:
    scores = np.zeros((1, 2), np.float32)
    boxes, captions = np.zeros((1, 4), np.float32), np.zeros(1, np.intp)
    Candidates(boxes, scores, scores, captions, presence=np.zeros(2, np.float32))
    with pytest.raises(ValueError, match=r"presence must be float32 \(2,\)"):
        Candidates(boxes, scores, scores, captions, presence=np.zeros(1, np.float32))


@pytest.mark.parametrize(
    ("crop", "left", "top", "size_hw", "message"),
    [
        (np.ones((2, 3), np.uint8), 0, 0, (9, 9), "bool (h, w), got uint8 (2, 3)"),
        (np.ones((1, 2, 3), np.bool_), 0, 0, (9, 9), "bool (h, w), got bool (1, 2, 3)"),
        (np.ones((2, 3), np.bool_), -1, 0, (9, 9), "rows 0 to 2 and columns -1 to 2"),
        (np.ones((2, 3), np.bool_), 0, -1, (9, 9), "rows -1 to 1 and columns 0 to 3"),
        (np.ones((2, 3), np.bool_), 7, 0, (9, 9), "9 x 9 pixels, got rows 0 to 2 and columns 7"),
        (np.ones((2, 3), np.bool_), 0, 8, (9, 9), "9 x 9 pixels, got rows 8 to 10"),
        (np.zeros((0, 0), np.bool_), 10, 0, (9, 9), "rows 0 to 0 and columns 10 to 10"),
        (np.zeros((0, 0), np.bool_), 0, 0, (0, 9), "at least 1 x 1, got 0 x 9"),
        (np.zeros((0, 0), np.bool_), 0, 0, (9, 0), "at least 1 x 1, got 9 x 0"),
    ],
)
def test_a_mask_that_is_none_or_reaches_over_the_edge_is_refused(
    crop: NDArray[Any], left: int, top: int, size_hw: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Mask(crop, left, top, size_hw)


def test_a_mask_in_the_last_corner() -> None:
    mask = Mask(np.array([[True, False, True]]), left=4, top=2, size_hw=(3, 7))
    assert mask.full().tolist() == [[False] * 7] * 2 + [[False] * 4 + [True, False, True]]
    assert mask.any()
    assert mask.crop.nbytes == 3


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (3, 3)])
def test_a_mask_of_nothing(shape: tuple[int, int]) -> None:
    mask = Mask(np.zeros(shape, np.bool_), left=5, top=4, size_hw=(9, 8))
    assert not mask.any()
    assert mask.full().shape == (9, 8)
    assert not mask.full().any()
    trimmed = mask.trimmed()
    assert (trimmed.crop.shape, trimmed.left, trimmed.top) == ((0, 0), 0, 0)
    assert trimmed.size_hw == (9, 8)


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_a_mask_keeps_every_pixel_and_no_more_than_it_needs(full: NDArray[np.bool_]) -> None:
    mask = Mask.from_full(full)
    np.testing.assert_array_equal(mask.full(), full)
    assert mask.any() == full.any()
    if mask.any():
        for edge in (mask.crop[0], mask.crop[-1], mask.crop[:, 0], mask.crop[:, -1]):
            assert edge.any()
    else:
        assert mask.crop.nbytes == 0


def test_a_trimmed_mask_is_in_memory_of_its_own() -> None:
    full = np.ones((5, 6), np.bool_)
    mask = Mask.from_full(full)
    full[:] = False
    assert mask.full().all()


def test_trimming_a_crop_moves_no_pixel() -> None:
    crop = np.zeros((5, 6), np.bool_)
    crop[2, 3:5] = True
    mask = Mask(crop, left=10, top=20, size_hw=(40, 30)).trimmed()
    assert (mask.crop.tolist(), mask.left, mask.top) == ([[True, True]], 13, 22)


@given(
    arrays.arrays(np.bool_, st.tuples(st.integers(0, 12), st.integers(0, 12))),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_a_packed_mask_is_the_same_again_and_an_eighth_of_it(
    crop: NDArray[np.bool_], left_top: tuple[int, int]
) -> None:
    mask = Mask(crop, *left_top, (20, 30))
    packed = mask.packed()
    again = packed.mask()
    np.testing.assert_array_equal(again.crop, crop)
    assert again.crop.dtype == np.bool_
    assert (again.left, again.top, again.size_hw) == (mask.left, mask.top, mask.size_hw)
    assert packed.nbytes == -(-crop.size // 8)
    assert again.any() == mask.any()
    assert again.crop_hw == mask.crop_hw
    np.testing.assert_array_equal(again.bits(), mask.bits())
    assert again.packed() is packed


def test_a_stored_mask_is_unpacked_when_it_is_first_read(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[PackedMask] = []
    own = PackedMask.pixels

    def count(packed: PackedMask) -> NDArray[np.bool_]:
        unpacked.append(packed)
        return own(packed)

    monkeypatch.setattr(PackedMask, "pixels", count)
    packed = Mask.from_full(np.eye(9, dtype=np.bool_)).packed()
    mask = packed.mask()
    assert (mask.any(), mask.key, mask.crop_hw) == (True, packed.key, (9, 9))
    assert unpacked == []
    assert mask.full().sum() == mask.trimmed().crop.sum() == 9
    assert unpacked == [packed]
    assert packed.mask().crop is not mask.crop, "what is unpacked stays in no cache"


def test_a_stored_mask_is_sent_packed_and_is_the_same_there() -> None:
    full = np.random.default_rng(0).random((300, 400)) > 0.5
    mask = Mask.from_full(full).packed().mask()
    sent = pickle.dumps(mask)
    np.testing.assert_array_equal(mask.full(), full)
    assert len(sent) < full.size / 7
    assert pickle.dumps(mask) == sent, "its pixels are not sent, read or not"
    there = pickle.loads(sent)
    np.testing.assert_array_equal(there.full(), full)
    assert (there.key, there.any(), there.size_hw) == (mask.key, True, (300, 400))


def test_a_mask_made_of_a_stored_one_has_no_key() -> None:
    mask = Mask.from_full(np.ones((3, 4), np.bool_)).packed().mask()
    assert mask.key is not None
    assert mask.trimmed().key is None
