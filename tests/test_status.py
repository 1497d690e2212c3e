"""The sentence in the status field."""

import numpy as np
import pytest

from grounded_labeler.pipeline import Found, Thresholds
from grounded_labeler.prompt import parse_prompt
from grounded_labeler.status import describe
from grounded_labeler.structures import Detections
from grounded_labeler.targets import Label

LABELS = (Label("Cat"), Label("House"))
LIMITS = Thresholds(box=0.3, text=0.25, nms=0.7, max_regions=10)


def found(*labelled: tuple[str, str | None], best: float = 0.9) -> Found:
    count = len(labelled)
    detections = Detections(
        np.zeros((count, 4), np.float32),
        np.full(count, 0.9, np.float32),
        tuple(phrase for phrase, _ in labelled),
        tuple(label for _, label in labelled),
    )
    return Found(detections, None, (9, 9), best, detect_seconds=0.31, segment_seconds=0.12)


@pytest.mark.parametrize(
    ("prompt", "answer", "sentence"),
    [
        (
            "cats . house",
            found(("cats", "Cat"), ("cats", "Cat"), ("house", "House")),
            "Found Cat: 2, House: 1 (0.4 s).",
        ),
        (
            "dog",
            found(("dog", None)),
            'Found dog: 1 (0.4 s). No label fits "dog": choose one for these regions.',
        ),
        (
            "dog -> Dog",
            found(("dog", None)),
            'Found dog: 1 (0.4 s). This project has no label "Dog".',
        ),
        (
            "cat",
            found(best=0.12),
            'Nothing found for "cat": the best score was 0.12, below the box threshold 0.3.',
        ),
        (
            # Never the same two figures on both sides.
            "cat",
            found(best=0.2999),
            'Nothing found for "cat": the best score was 0.29, below the box threshold 0.3.',
        ),
        (
            "cat . -dog",
            found(best=0.45),
            'Nothing found for "cat": the best score was 0.45, but no box fits a whole phrase at'
            " the text threshold 0.25, or a phrase with a minus sign fits it better.",
        ),
        (
            "-dog",
            found(),
            "Nothing to look for: a minus sign leaves out every phrase of the prompt.",
        ),
    ],
)
def test_sentences(prompt: str, answer: Found, sentence: str) -> None:
    asked = parse_prompt(prompt, [label.value for label in LABELS])
    assert describe(answer, asked, LABELS, LIMITS) == sentence
