from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from grounded_labeler.core import comparison
from grounded_labeler.core.boxes import box_iou
from grounded_labeler.core.comparison import _refinements
from grounded_labeler.core.label_matching import labels_of
from grounded_labeler.core.postprocess import (
    Fate,
    Verdict,
    best_scores,
    explain,
    own_thresholds,
    select,
    thresholds_of_phrases,
)
from grounded_labeler.core.prompt import Phrase, Prompt, phrases_from_labels
from grounded_labeler.core.types import (
    Boxes,
    Candidates,
    Detections,
    Label,
    Scores,
    Thresholds,
)
from tests.core.test_label_matching import labels

SIZE_WH = (100, 80)


BOX = (10, 10, 30, 30)
NEAR = (11, 10, 31, 30)  # IoU 0.90 with BOX
INSIDE = (10, 10, 30, 26)  # IoU 0.8 with BOX
FAR = (50, 50, 70, 70)
PROJECT = labels("cat", "dog")


def candidates(*rows: tuple[tuple[float, ...], list[float]], means: object = None) -> Candidates:
    """Rows of (box, peaks); the means are the peaks unless they are given."""
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    peaks = np.array([peak for _, peak in rows], np.float32).reshape(len(rows), -1)
    captions = np.zeros(len(rows), np.intp)
    return Candidates(
        boxes, peaks, peaks if means is None else np.array(means, np.float32), captions
    )


def prompt(*texts: str) -> Prompt:
    return Prompt(tuple(Phrase(text.lstrip("-"), negative=text[0] == "-") for text in texts))


def chosen(
    seen: Candidates,
    asked: Prompt,
    *,
    project: tuple[Label, ...] = PROJECT,
    box: float = 0.3,
    text: float = 0.2,
    nms: float = 0.7,
    most: int = 100,
) -> Detections:
    return select(
        seen,
        asked,
        labels_of(asked.phrases, project),
        box_thresholds=[box] * len(asked.phrases),
        text_threshold=text,
        nms_threshold=nms,
        max_regions=most,
        size_wh=SIZE_WH,
    )


@pytest.mark.parametrize("texts", [(), ("cat",), ("cat", "-dog")])
def test_no_candidates_give_no_detections(texts: tuple[str, ...]) -> None:
    empty = np.zeros((0, len(texts)), np.float32)
    seen = Candidates(np.zeros((0, 4), np.float32), empty, empty, np.zeros(0, np.intp))
    assert len(chosen(seen, prompt(*texts))) == 0
    assert best_scores(seen, prompt(*texts)) == (0.0,) * len(texts)


def test_no_phrases_give_no_detections() -> None:
    empty = np.zeros((1, 0), np.float32)
    seen = Candidates(np.array([BOX], np.float32), empty, empty, np.zeros(1, np.intp))
    assert len(chosen(seen, Prompt(()))) == 0
    assert best_scores(seen, Prompt(())) == ()


def test_a_detector_that_scores_no_tokens_knows_no_text_threshold() -> None:
    seen = candidates((BOX, [0.5]), (FAR, [0.29]))
    assert len(chosen(seen, prompt("cat"), text=0.9)) == 0
    found = chosen(replace(seen, scores_tokens=False), prompt("cat"), text=0.9)
    assert found.boxes.tolist() == [list(BOX)]
    assert found.scores == pytest.approx([0.5])


def test_one_box_is_labelled() -> None:
    found = chosen(candidates((BOX, [0.5])), prompt("brown cats"))
    assert found.boxes.tolist() == [list(BOX)]
    assert found.scores == pytest.approx([0.5])
    assert (found.phrases, found.labels) == (("brown cats",), ("cat",))


@pytest.mark.parametrize(
    ("peaks", "means", "winner"),
    [
        # The best mean wins, with its own peak as the score.
        ([0.9, 0.5], [0.3, 0.4], ("dog", 0.5)),
        # Equal means: the higher peak; equal peaks too: the phrase typed first.
        ([0.5, 0.9], [0.4, 0.4], ("dog", 0.9)),
        ([0.5, 0.5], [0.4, 0.4], ("cat", 0.5)),
        # A phrase below a threshold does not take part.
        ([0.2, 0.5], [0.9, 0.4], ("dog", 0.5)),
        ([0.9, 0.5], [0.1, 0.4], ("dog", 0.5)),
        # At the thresholds is enough.
        ([0.3, 0.0], [0.2, 0.0], ("cat", 0.3)),
        ([0.29, 0.0], [0.2, 0.0], None),
        ([0.3, 0.0], [0.19, 0.0], None),
        # Reaching one threshold by one phrase each is not enough.
        ([0.9, 0.1], [0.1, 0.9], None),
    ],
)
def test_a_box_goes_to_its_best_phrase(
    peaks: list[float], means: list[float], winner: tuple[str, float] | None
) -> None:
    found = chosen(candidates((BOX, peaks), means=[means]), prompt("cat", "dog"))
    assert found.phrases == (() if winner is None else winner[:1])
    assert found.scores == pytest.approx([] if winner is None else winner[1:])


def test_thresholds_of_zero_keep_boxes_of_score_zero() -> None:
    found = chosen(candidates((BOX, [0.0, 0.0])), prompt("cat", "dog"), box=0, text=0)
    assert found.labels == ("cat",)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((-5, -5, 10, 10), [0, 0, 10, 10]),
        ((90, 70, 130, 90), [90, 70, 100, 80]),
        ((-9, -9, 999, 999), [0, 0, 100, 80]),
        ((100, 10, 120, 30), None),  # wholly outside
        ((-20, -20, -1, -1), None),
        ((10, 10, 10, 30), None),  # no width
        ((30, 30, 10, 10), None),  # inside out
        ((99.5, 10, 120, 30), None),  # less than a pixel is left
        ((float("nan"), 10, 20, 30), None),
    ],
)
def test_boxes_are_clipped_to_the_image(
    box: tuple[float, ...], expected: list[float] | None
) -> None:
    found = chosen(candidates((box, [0.9])), prompt("cat"))
    assert found.boxes.tolist() == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("texts", "rows", "nms", "expected"),
    [
        # Of two boxes of one label that overlap, the better stays ...
        (("cat",), [(NEAR, [0.5]), (BOX, [0.6])], 0.7, [0.6]),
        # ... whichever phrases of the label they are of.
        (("brown cat", "cats"), [(BOX, [0.5, 0]), (NEAR, [0, 0.6])], 0.7, [0.6]),
        (("cat",), [(BOX, [0.5]), (FAR, [0.6])], 0.7, [0.6, 0.5]),
        (("cat",), [(BOX, [0.5]), (NEAR, [0.6])], 0.95, [0.6, 0.5]),
        # So of two labels: one object has one.
        (("cat", "dog"), [(BOX, [0.5, 0]), (NEAR, [0, 0.6])], 0.7, [0.6]),
        (("cat", "dog"), [(BOX, [0.5, 0]), (FAR, [0, 0.6])], 0.7, [0.6, 0.5]),
        (("cat", "dog"), [(BOX, [0.5, 0]), (NEAR, [0, 0.6])], 0.95, [0.6, 0.5]),
        # ... unless they are not nearly the same box: a woman and her dress are two objects.
        (("cat", "dog"), [(BOX, [0.5, 0]), (INSIDE, [0, 0.6])], 0.7, [0.6, 0.5]),
        (("cat",), [(BOX, [0.5]), (INSIDE, [0.6])], 0.7, [0.6]),
        # And of phrases without a label.
        (("elk", "gnu"), [(BOX, [0.5, 0]), (NEAR, [0, 0.6])], 0.7, [0.6]),
        (("elk", "gnu"), [(BOX, [0.5, 0]), (NEAR, [0.6, 0])], 0.7, [0.6]),
        # The same box twice with the same score: once.
        (("cat",), [(BOX, [0.5]), (BOX, [0.5])], 0.7, [0.5]),
    ],
)
def test_of_boxes_that_overlap_the_better_stays(
    texts: tuple[str, ...],
    rows: list[tuple[tuple[float, ...], list[float]]],
    nms: float,
    expected: list[float],
) -> None:
    found = chosen(candidates(*rows), prompt(*texts), nms=nms)
    assert found.scores == pytest.approx(expected)


def test_a_phrase_that_reads_like_a_label_has_the_one_it_is_mapped_to() -> None:
    asked = Prompt((Phrase("tabby", "cat"), Phrase("cat", "bird")))  # no label "bird"
    found = chosen(candidates((BOX, [0.5, 0]), (FAR, [0, 0.6])), asked)
    assert found.labels == (None, "cat")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # A box that fits the negative phrase better is left out.
        ([(BOX, [0.5, 0.6])], []),
        ([(BOX, [0.8, 0.5])], ["cat"]),
        # So is any box over it that fits its phrase less, of whatever label.
        ([(BOX, [0, 0.6, 0]), (NEAR, [0.5, 0, 0]), (NEAR, [0, 0, 0.55])], []),
        ([(BOX, [0, 0.6, 0]), (NEAR, [0, 0, 0.7])], ["dog"]),
        # One phrase refines the other: the narrower needs to fit only nearly as well.
        ([(BOX, [0, 0.6, 0]), (NEAR, [0.7, 0, 0]), (NEAR, [0, 0, 0.5])], []),
        ([(BOX, [0, 0.6, 0]), (NEAR, [0.9, 0, 0]), (NEAR, [0, 0, 0.5])], ["cat"]),
        ([(BOX, [0, 0.6]), (FAR, [0.5, 0])], ["cat"]),
        # Below the threshold it takes no part.
        ([(BOX, [0.0, 0.29]), (NEAR, [0.3, 0])], ["cat"]),
        # What it rules out does not drop the duplicates of others.
        ([(BOX, [0, 0.6]), (NEAR, [0.5, 0]), ((14, 10, 34, 30), [0.4, 0])], ["cat"]),
    ],
)
def test_negative_phrases_rule_boxes_out(
    rows: list[tuple[tuple[float, ...], list[float]]], expected: list[str]
) -> None:
    asked = prompt("cat", "-toy cat", "dog")
    full = [(box, [*peaks, 0.0][:3]) for box, peaks in rows]
    found = chosen(candidates(*full), asked)
    assert list(found.labels) == expected


@pytest.mark.parametrize(
    ("texts", "means", "winner"),
    [
        # "toy" brings the mean of a real toy's "toy dog" down, below that of "dog" alone.
        (("dog", "toy dog"), [0.6, 0.5], "toy dog"),
        (("toy dog", "dog"), [0.5, 0.6], "toy dog"),  # wherever it stands
        (("dog", "toy dog"), [0.6, 0.3], "dog"),  # no toy
        (("dog", "toy dog"), [0.3, 0.24], "dog"),  # nearly as well, but below the threshold
        (("dog", "small toy dog", "toy dog"), [0.6, 0.5, 0.5], "small toy dog"),
        (("dog", "toy cat"), [0.6, 0.59], "dog"),  # another thing, not a narrower one
        (("toy dog", "dog toy"), [0.6, 0.59], "toy dog"),  # the same words refine nothing
    ],
)
def test_a_phrase_that_refines_another_wins_where_it_fits_nearly_as_well(
    texts: tuple[str, ...], means: list[float], winner: str
) -> None:
    row = np.array([means], np.float32)
    seen = Candidates(
        np.array([BOX], np.float32), np.full_like(row, 0.7), row, np.zeros(1, np.intp)
    )
    asked = Prompt(tuple(Phrase(text) for text in texts))
    assert chosen(seen, asked, text=0.25).phrases == (winner,)


def test_only_negative_phrases_give_nothing() -> None:
    assert len(chosen(candidates((BOX, [0.9])), prompt("-cat"))) == 0


def test_the_best_regions_are_kept() -> None:
    rows = [((10.0 * i, 0, 10.0 * i + 8, 8), [0.3 + 0.05 * i]) for i in range(8)]
    found = chosen(candidates(*rows), prompt("cat"), most=3)
    assert found.scores == pytest.approx([0.65, 0.6, 0.55])
    assert found.boxes[:, 0].tolist() == [70, 60, 50]


def test_equal_scores_keep_the_detectors_order() -> None:
    rows = [((10.0 * i, 0, 10.0 * i + 8, 8), [0.5, 0.0][:: (-1) ** i]) for i in range(6)]
    found = chosen(candidates(*rows), prompt("dog", "cat"), most=4)
    assert found.boxes[:, 0].tolist() == [0, 10, 20, 30]


def test_labels_asked_for_come_back() -> None:
    project = (Label("C1", ("Cat",), "small cat"), Label("Fire_Truck"))
    seen = candidates((BOX, [0.5, 0]), (FAR, [0, 0.6]))
    found = chosen(seen, phrases_from_labels(project), project=project)
    assert found.labels == ("Fire_Truck", "C1")
    assert found.phrases == ("Fire Truck", "small cat")


def test_columns_must_be_the_phrases() -> None:
    seen = candidates((BOX, [0.5, 0.6]))
    with pytest.raises(ValueError, match="must have 1 columns, one a phrase, got 2"):
        chosen(seen, prompt("cat"))
    with pytest.raises(ValueError, match="must have 1 columns"):
        best_scores(seen, prompt("cat"))


def test_each_phrase_has_a_best_score_kept_or_not() -> None:
    seen = candidates((BOX, [0.1, 0.9]), (FAR, [0.4, 0.2]))
    assert best_scores(seen, prompt("cat", "-dog")) == pytest.approx((0.4, 0.9))


TEXTS = ["cat", "small cat", "dog", "elk", "gnu", "toy"]
FRACTION = st.floats(0, 1, width=32)
THRESHOLD = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Candidates, Prompt]:
    flags = draw(st.lists(st.sampled_from([False, False, True]), max_size=len(TEXTS)))
    phrases = [Phrase(t, negative=flag) for t, flag in zip(TEXTS, flags, strict=False)]
    count = draw(st.integers(0, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # On a coarse grid, so that boxes often coincide and scores are often equal.
    low, extent = rng.integers(-4, 20, (count, 2)) * 5, rng.integers(-1, 8, (count, 2)) * 5
    boxes = np.concatenate([low, low + extent], axis=1).astype(np.float32)
    peaks, means = rng.integers(0, 9, (2, count, len(phrases))).astype(np.float32) / 8
    return Candidates(boxes, peaks, means, np.zeros(len(boxes), np.intp)), Prompt(tuple(phrases))


@given(scenes(), THRESHOLD, THRESHOLD, THRESHOLD, st.integers(1, 12))
def test_what_is_kept_obeys_the_rules(
    scene: tuple[Candidates, Prompt], box: float, text: float, nms: float, most: int
) -> None:
    seen, asked = scene
    found = chosen(seen, asked, box=box, text=text, nms=nms, most=most)
    assert len(found) <= most
    assert (np.diff(found.scores) <= 0).all()
    assert (found.scores >= box).all()
    width, height = SIZE_WH
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [width, height, width, height]).all()
    assert (found.boxes[:, 2:] - found.boxes[:, :2] >= 1).all()
    assert set(found.phrases) <= {p.text for p in asked.phrases if not p.negative}
    assert set(found.labels) <= {"cat", "dog", None}
    best = dict(zip(asked.phrases, best_scores(seen, asked), strict=True))
    assert all(
        best[Phrase(text)] >= score for text, score in zip(found.phrases, found.scores, strict=True)
    )
    overlap = box_iou(found.boxes, found.boxes)
    names = [label or phrase for label, phrase in zip(found.labels, found.phrases, strict=True)]
    for i, j in zip(*np.triu_indices(len(found), 1), strict=True):
        assert overlap[i, j] <= (nms if names[i] == names[j] else max(nms, 0.9))


@given(scenes(), THRESHOLD, THRESHOLD, st.integers(0, 2**32 - 1))
def test_it_does_not_matter_which_caption_a_box_came_from(
    scene: tuple[Candidates, Prompt], text: float, nms: float, seed: int
) -> None:
    seen, asked = scene
    captions = np.random.default_rng(seed).integers(0, 3, len(seen.boxes))
    one, other = (
        chosen(some, asked, text=text, nms=nms) for some in (seen, replace(seen, captions=captions))
    )
    assert one.boxes.tolist() == other.boxes.tolist()
    assert one.phrases == other.phrases


def test_what_outdoes_a_box_is_itself_kept_or_outdone_by_what_is() -> None:
    """No ring of boxes may drop each other: one object is always left."""
    asked = prompt("dog", "toy dog", "cat")
    boxes = [(BOX, [0.60, 0, 0]), (NEAR, [0, 0.50, 0]), (BOX, [0, 0, 0.55])]
    assert chosen(candidates(*boxes), asked).phrases == ("cat",)


def test_a_box_that_is_dropped_drops_no_other() -> None:
    rows = [(BOX, [0.6]), ((13, 10, 33, 30), [0.5]), ((16, 10, 36, 30), [0.4])]
    found = chosen(candidates(*rows), prompt("cat"))
    assert found.scores == pytest.approx([0.6, 0.4])


@given(scenes(), THRESHOLD, st.integers(1, 12))
def test_fewer_regions_are_the_first_of_more(
    scene: tuple[Candidates, Prompt], nms: float, most: int
) -> None:
    few, all_found = (chosen(*scene, nms=nms, most=n) for n in (most, 10_000))
    assert few.boxes.tolist() == all_found.boxes[:most].tolist()
    assert few.labels == all_found.labels[:most]


def crowd(count: int, phrases: int, seed: int = 0) -> Candidates:
    """So many boxes of all sizes, whose means do not have the order of their peaks."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 40, (count, 2))
    boxes = np.hstack([low, low + rng.uniform(1, 39, (count, 2))]).astype(np.float32)
    # Many scores are equal, and no peak is below its mean.
    peaks: Scores = np.array(rng.integers(1, 200, (count, phrases)) / 200, np.float32)
    means = (peaks * rng.uniform(0.5, 1, peaks.shape)).astype(np.float32)
    return Candidates(boxes, peaks, means, np.zeros(count, np.intp))


@pytest.mark.parametrize("nms", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("count", [1, 5, 300, 900])
def test_one_phrase_keeps_what_torchvision_keeps(count: int, nms: float) -> None:
    order = np.random.default_rng(count).permutation(count)
    scores: Scores = np.array(order[:, None] / count, np.float32)
    seen = replace(crowd(count, 1), peaks=scores, means=scores)
    kept = torchvision.ops.nms(torch.tensor(seen.boxes), torch.tensor(scores[:, 0]), nms)
    found = chosen(seen, prompt("cat"), box=0, text=0, nms=nms, most=count)
    assert found.boxes.tolist() == seen.boxes[kept.numpy()].tolist()


@pytest.mark.parametrize("nms", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("most", [1, 10, 100, 400])
def test_the_best_of_a_crowd_are_the_first_of_all(most: int, nms: float) -> None:
    """Whatever was dropped by what scores less: the order of means is not that of peaks."""
    seen, asked = crowd(600, 3), prompt("cat", "-elk", "dog")
    few, all_found = (
        chosen(seen, asked, box=0, text=0, nms=nms, most=n) for n in (most, len(seen))
    )
    assert few.boxes.tolist() == all_found.boxes[:most].tolist()
    assert few.scores.tolist() == all_found.scores[:most].tolist()
    assert few.phrases == all_found.phrases[:most]


def test_for_the_best_few_not_each_is_compared_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counted(one: Boxes, other: Boxes) -> NDArray[np.float32]:
        nonlocal compared
        compared += len(one) * len(other)
        return box_iou(one, other)

    monkeypatch.setattr(comparison, "box_iou", counted)
    seen = crowd(900, 2)
    seen = replace(seen, means=seen.peaks)
    found = chosen(seen, prompt("cat", "dog"), box=0, text=0, nms=1, most=10)
    assert len(found) == 10
    assert 10 * 900 <= compared < 100 * 900


@pytest.mark.parametrize(
    ("texts", "means", "expected"),
    [
        (("cat", "dog"), (0.5, 0.6), ["dog"]),
        (("cat", "dog"), (0.6, 0.5), ["cat"]),
        (("cat", "dog"), (0.5, 0.5), ["cat"]),  # the one typed first
        # A phrase that refines another one wins where it fits nearly as well.
        (("dog", "toy dog"), (0.6, 0.5), ["toy dog"]),
        (("toy dog", "dog"), (0.5, 0.6), ["toy dog"]),
        (("dog", "toy dog"), (0.6, 0.4), ["dog"]),
        # A negative phrase outdoes, and is outdone.
        (("dog", "-toy dog"), (0.6, 0.5), []),
        (("cat", "-dog"), (0.6, 0.5), ["cat"]),
    ],
)
@pytest.mark.parametrize("captions", [(0, 0), (0, 1)])
def test_phrases_compete_in_one_caption_as_in_two(
    texts: tuple[str, str],
    means: tuple[float, float],
    expected: list[str],
    captions: tuple[int, int],
) -> None:
    scores = np.diag(np.array(means, np.float32))
    boxes = np.array([BOX, NEAR], np.float32)
    seen = Candidates(boxes, scores, scores, np.array(captions, np.intp))
    assert list(chosen(seen, prompt(*texts)).phrases) == expected
    # Apart from each other they are two objects, but for a negative one.
    seen = Candidates(np.array([BOX, FAR], np.float32), scores, scores, np.array(captions))
    wanted = [text for text in texts if not text.startswith("-")]
    assert sorted(chosen(seen, prompt(*texts)).phrases) == sorted(wanted)


def test_of_very_many_candidates_the_best_are_compared() -> None:
    """All of 20,000, each with each, would take gigabytes."""
    rng = np.random.default_rng(5)
    corners = rng.uniform(0, (90, 70), (20_000, 2))
    boxes = np.concatenate([corners, corners + 8], axis=1).astype(np.float32)
    peaks = rng.uniform(0, 1, (20_000, 1)).astype(np.float32)
    seen = Candidates(boxes, peaks, peaks, np.zeros(20_000, np.intp))
    few = np.flatnonzero(peaks[:, 0] > 0.9)
    best = Candidates(boxes[few], peaks[few], peaks[few], np.zeros(len(few), np.intp))
    found, expected = (chosen(some, prompt("cat"), box=0, text=0, most=50) for some in (seen, best))
    assert len(found) == 50
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_refinements_are_found_once_a_prompt() -> None:
    """Each with each, 1,500 phrases are two million pairs an image."""
    texts = ("thing", *(f"red thing {i}" for i in range(1000)), *(f"blue {i}" for i in range(499)))
    _refinements.cache_clear()
    assert _refinements(texts) == tuple((0, i) for i in range(1, 1001))
    seen = candidates((BOX, [0.5] * len(texts)))
    for _ in range(3):
        assert len(chosen(seen, prompt(*texts))) == 1
    assert _refinements.cache_info().misses == 1


# Why a candidate is not shown


def verdicts(
    seen: Candidates, asked: Prompt, *, box: float = 0.3, most: int = 100
) -> list[Verdict]:
    return explain(
        seen,
        asked,
        labels_of(asked.phrases, PROJECT),
        box_thresholds=[box] * len(asked.phrases),
        text_threshold=0.2,
        nms_threshold=0.7,
        max_regions=most,
        size_wh=SIZE_WH,
    )


def test_each_fate_is_told() -> None:
    asked = prompt("cat", "-toy cat", "dog")
    rows = [
        (BOX, [0.9, 0.0, 0.0]),
        (NEAR, [0.8, 0.0, 0.0]),
        (FAR, [0.29, 0.0, 0.0]),
        (FAR, [0.5, 0.0, 0.0]),
        ((80, 10, 95, 20), [0.4, 0.6, 0.0]),
        ((200, 10, 230, 20), [0.0, 0.0, 0.9]),
        ((0, 60, 20, 78), [0.0, 0.0, 0.4]),
    ]
    means = np.array([peaks for _, peaks in rows])
    means[3] = [0.19, 0, 0]
    told = verdicts(candidates(*rows, means=means), asked, most=1)
    assert told == [
        Verdict(0, Fate.KEPT),
        Verdict(0, Fate.OVERLAPS, 0),
        Verdict(0, Fate.BELOW_BOX_THRESHOLD),
        Verdict(0, Fate.BELOW_TEXT_THRESHOLD),
        Verdict(1, Fate.NEGATIVE),
        Verdict(2, Fate.NO_AREA),
        Verdict(2, Fate.OVER_THE_LIMIT),
    ]


def test_a_box_that_a_refined_phrase_covers_names_it() -> None:
    seen = candidates((BOX, [0.5, 0.45]), (NEAR, [0.6, 0.0]), means=[[0.5, 0.45], [0.5, 0.0]])
    told = verdicts(seen, prompt("dog", "toy dog"))
    assert told == [Verdict(1, Fate.KEPT), Verdict(0, Fate.REFINED, 0)]


def test_nothing_asked_explains_nothing() -> None:
    empty = np.zeros((1, 0), np.float32)
    seen = Candidates(np.array([BOX], np.float32), empty, empty, np.zeros(1, np.intp))
    assert verdicts(seen, Prompt(())) == []


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.2, 0.5]), st.integers(1, 12))
def test_what_is_kept_is_what_is_selected(seed: int, box: float, most: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-5, 60, (12, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 30, (12, 2))], axis=1)
    peaks = rng.choice([0.0, 0.1, 0.3, 0.5, 0.9], (12, 4)).astype(np.float32)
    seen = Candidates(
        boxes.astype(np.float32), peaks, peaks * np.float32(0.8), np.zeros(12, np.intp)
    )
    asked = prompt("cat", "big cat", "dog", "-toy dog")
    told = verdicts(seen, asked, box=box, most=most)
    found = chosen(seen, asked, box=box, most=most)
    kept = [i for i, one in enumerate(told) if one.fate is Fate.KEPT]
    assert sorted(seen.peaks[i, told[i].phrase] for i in kept) == sorted(found.scores.tolist())
    assert len(told) == len(seen)
    assert all(
        (one.rival is None) == (one.fate not in {Fate.OVERLAPS, Fate.REFINED}) for one in told
    )


def test_phrases_have_the_threshold_of_their_label() -> None:
    asked = prompt("cat", "big dog", "bird", "-toy cat")
    project = (Label("cat", score_threshold=0.0), Label("dog", score_threshold=0.6))
    labels_ = labels_of(asked.phrases, project)
    limits = Thresholds(0.3, 0.25, 0.7, 100)
    assert thresholds_of_phrases(asked, labels_, project, limits) == (0.0, 0.6, 0.3, 0.3)
    final = Thresholds(0.3, 0.25, 0.7, 100, overrides_labels=True)
    assert thresholds_of_phrases(asked, labels_, project, final) == (0.3,) * 4


def test_a_threshold_typed_for_a_phrase_goes_before_all_others() -> None:
    typed = (Phrase("cat", threshold=0.1), Phrase("dog"), Phrase("toy", None, True, 0.5))
    asked = Prompt(typed)
    project = (Label("cat", score_threshold=0.9), Label("dog", score_threshold=0.6))
    labels_ = labels_of(asked.phrases, project)
    limits = Thresholds(0.3, 0.25, 0.7, 100)
    assert own_thresholds(asked, labels_, project) == (0.1, 0.6, 0.5)
    assert thresholds_of_phrases(asked, labels_, project, limits) == (0.1, 0.6, 0.5)
    final = replace(limits, overrides_labels=True)
    assert thresholds_of_phrases(asked, labels_, project, final) == (0.1, 0.3, 0.5)
