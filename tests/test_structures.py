"""Arrays are checked where they are made."""

import numpy as np
import pytest

from grounded_labeler.structures import Candidates, Detections


def test_empty_detections_have_the_right_shapes() -> None:
    empty = Detections.empty()
    assert len(empty) == 0
    assert empty.boxes.shape == (0, 4)


def test_take_keeps_rows_together() -> None:
    boxes = np.arange(12, dtype=np.float32).reshape(3, 4)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    taken = Detections(boxes, scores, ("a", "b", "c"), (None, "B", None)).take([2, 1])
    assert taken.phrases == ("c", "b")
    assert taken.labels == (None, "B")
    assert taken.boxes[0].tolist() == [8, 9, 10, 11]
    assert taken.scores.tolist() == pytest.approx([0.7, 0.8])


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
    assert Candidates(np.zeros((0, 4), np.float32), none, none).peaks.shape == (0, 0)
