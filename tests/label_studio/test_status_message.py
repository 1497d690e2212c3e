"""The sentence in the status field."""

from dataclasses import replace

import numpy as np
import pytest

from grounded_labeler.core.inference import InferenceResult
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import Detections, Label, Thresholds, TileCount
from grounded_labeler.label_studio.image_value import ImageValue
from grounded_labeler.label_studio.queries import Query
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio.status_message import describe

LABELS = (Label("Cat"), Label("House"))
LIMITS = Thresholds(box=0.3, text=0.25, nms=0.7, max_regions=10)


def found(
    *labelled: tuple[str, str | None], best: tuple[float, ...], more: int = 0
) -> InferenceResult:
    count = len(labelled)
    detections = Detections(
        np.zeros((count, 4), np.float32),
        np.full(count, 0.9, np.float32),
        tuple(phrase for phrase, _ in labelled),
        tuple(label for _, label in labelled),
    )
    near_misses = Detections(
        np.zeros((more, 4), np.float32),
        np.full(more, 0.25, np.float32),
        ("cat",) * more,
        (None,) * more,
    )
    return InferenceResult(detections, None, (9, 9), best, 0.31, 0.12, near_misses)


def with_presence(found: InferenceResult, *presence: float) -> InferenceResult:
    return replace(found, presence=presence)


def asked(prompt: str) -> Query:
    target = ImageTarget("image", ImageValue("$image"), (), LABELS)
    parsed = parse_prompt(prompt, LABELS)
    return Query(target, parsed, LIMITS, prompt, with_near_misses=True)


@pytest.mark.parametrize(
    ("prompt", "answer", "sentence"),
    [
        (
            "cats . house",
            found(("cats", "Cat"), ("cats", "Cat"), ("house", "House"), best=(0.9, 0.9)),
            "Found Cat: 2, House: 1. Took 0.4 s.",
        ),
        (
            "cats . unicorn",
            found(("cats", "Cat"), ("cats", "Cat"), best=(0.9, 0.04), more=3),
            'Found Cat: 2. Nothing for "unicorn" (best 0.04). 3 more between 0.20 and 0.30. '
            "Took 0.4 s.",
        ),
        (
            "cats . unicorn . elk -> Cat",
            found(("cats", "Cat"), best=(0.9, 0.0, 0.199)),
            'Found Cat: 1. Nothing for "unicorn" (best 0.00), "elk" (best 0.19). Took 0.4 s.',
        ),
        (
            "dog",
            found(("dog", None), best=(0.9,)),
            'Found dog: 1. No label fits "dog": choose one for these regions. Took 0.4 s.',
        ),
        (
            "dog -> Dog",
            found(("dog", None), best=(0.9,)),
            'Found dog: 1. This project has no label "Dog". Took 0.4 s.',
        ),
        (
            "cat",
            found(best=(0.12,)),
            'Nothing found for "cat" (best 0.12); the box threshold is 0.3. Took 0.4 s.',
        ),
        (
            "cat",
            with_presence(found(best=(0.02,)), 0.039),
            'No "cat" in this image: presence 0.03. Took 0.4 s.',
        ),
        (
            "cat . elk . owl . -dog",
            with_presence(found(best=(0.02, 0.0, 0.2, 0.0)), 0.039, 0.4999, 0.5, 0.0),
            'None of these in this image: "cat" (presence 0.03), "elk" (presence 0.49). '
            'Nothing found for "owl" (best 0.20); the box threshold is 0.3. Took 0.4 s.',
        ),
        (
            "cats . elk",
            with_presence(found(("cats", "Cat"), best=(0.9, 0.0)), 0.95, 0.01),
            'Found Cat: 1. No "elk" in this image: presence 0.01. Took 0.4 s.',
        ),
        (
            # It scores: another phrase won its boxes.
            "cats . cat",
            with_presence(found(("cats", "Cat"), best=(0.9, 0.35)), 0.95, 0.4),
            'Found Cat: 1. Nothing for "cat" (best 0.35). A score that high counts only where no '
            "other phrase fits better. Took 0.4 s.",
        ),
        (
            # Never the same two figures on both sides.
            "cat",
            found(best=(0.2999,), more=1),
            'Nothing found for "cat" (best 0.29); the box threshold is 0.3. '
            "1 more between 0.20 and 0.30. Took 0.4 s.",
        ),
        (
            "cat . -dog",
            found(best=(0.45, 0.8)),
            'Nothing found for "cat" (best 0.45); the box threshold is 0.3. A score that high '
            "counts only for a box that the whole phrase fits (text threshold 0.25) and no other "
            "phrase fits better. Took 0.4 s.",
        ),
        (
            "-dog",
            found(best=(0.9,)),
            "Nothing to look for: every phrase begins with a minus sign.",
        ),
    ],
)
def test_sentences(prompt: str, answer: InferenceResult, sentence: str) -> None:
    assert describe(answer, asked(prompt)) == sentence


@pytest.mark.parametrize(
    ("tiles", "words"),
    [
        (TileCount(12, 12), "Took 0.4 s with 12 tiles."),
        (TileCount(5, 12), "with 5 of 12 tiles, as there was no time for more: ask again."),
    ],
)
def test_tiles_are_counted(tiles: TileCount, words: str) -> None:
    answer = replace(found(("cat", "Cat"), best=(0.9,)), tiles=tiles)
    assert describe(answer, asked("cat")).endswith(words)


def test_a_remembered_prompt_is_named() -> None:
    query = replace(asked("cat"), is_remembered=True)
    assert describe(found(("cat", "Cat"), best=(0.9,)), query) == (
        'Asked with the remembered prompt "cat". Found Cat: 1. Took 0.4 s.'
    )


@pytest.mark.parametrize(
    ("box", "range_"),
    [(0.3, "0.20 and 0.30"), (0.125, "0.025 and 0.125"), (0.05, "0.00 and 0.05")],
)
def test_thresholds_are_shown_with_their_digits(box: float, range_: str) -> None:
    query = replace(asked("cat"), thresholds=replace(LIMITS, box=box))
    assert f"2 more between {range_}." in describe(found(best=(0.01,), more=2), query)


def test_each_label_is_held_to_its_own_threshold() -> None:
    query = asked("cat . dog")
    strict = tuple(replace(one, score_threshold=0.6) for one in LABELS[:1])
    query = replace(query, target=replace(query.target, labels=strict + LABELS[1:]))
    said = describe(found(best=(0.45, 0.2), more=1), query)
    assert said.startswith(
        'Nothing found for "cat" (best 0.45, box threshold 0.6), "dog" (best 0.20, box threshold '
        '0.3). 1 more of "cat" between 0.50 and 0.60.'
    )
    both = replace(query, thresholds=replace(LIMITS, overrides_labels=True))
    assert "A score that high counts only for a box" in describe(found(best=(0.45, 0.2)), both)


def test_what_lower_thresholds_would_show_is_said_of_each_phrase() -> None:
    query = asked("cat > 0.2 . dog -> House . bird")
    three = found(("bird", None), best=(0.15, 0.3, 0.9), more=3)
    near = replace(three.near_misses, phrases=("dog", "cat", "dog"))
    said = describe(replace(three, near_misses=near), query)
    assert '2 more of "dog" between 0.20 and 0.30, 1 more of "cat" between 0.10 and 0.20.' in said
    assert 'Nothing for "cat" (best 0.15, box threshold 0.2), "dog" (best 0.30, box' in said
    phrases = [f"thing {i} {'x' * 50}" for i in range(100)]
    many = asked(" . ".join(f"{text} > {(i + 1) / 100:.2f}" for i, text in enumerate(phrases)))
    every = found(best=(0.0,) * 100, more=100)
    every = replace(every, near_misses=replace(every.near_misses, phrases=tuple(phrases)))
    assert len(describe(every, many)) < 1300


def test_the_sentence_has_an_end_however_much_was_asked() -> None:
    phrases = [f"thing number {i} {'x' * 100}" for i in range(1500)]
    query = replace(asked(" . ".join(phrases)), is_remembered=True)
    nothing = describe(found(best=(0.1,) * 1500), query)
    assert len(nothing) < 1500
    assert "(best 0.10) and 1,494 more; the box threshold is 0.3." in nothing
    every = describe(found(*((p, None) for p in phrases), best=(0.9,) * 1500), query)
    assert len(every) < 2500
    assert "more. No label fits" in every
