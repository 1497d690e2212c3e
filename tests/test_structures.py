"""Arrays are checked where they are made."""

import numpy as np
import pytest

from grounded_labeler.structures import Candidates, Detections


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
