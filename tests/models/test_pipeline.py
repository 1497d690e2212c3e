"""Detect, then segment, with stand-in models: what runs when, and on what."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.inference import InferenceRequest
from grounded_labeler.core.masks import Mask, PackedMask
from grounded_labeler.core.postprocess import select
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import (
    Boxes,
    Candidates,
    DecodedImage,
    Detections,
    Label,
    Thresholds,
)
from grounded_labeler.core.visual_prompts import Segment, VisualPrompts
from grounded_labeler.images.decode import decode
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.observer import Stage
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import load_segmenter
from grounded_labeler.weights.catalog import SEGMENTERS
from tests.conftest import SAMPLES
from tests.models.detectors.small_models import DEMO

LIMITS = Thresholds(box=0.3, text=0.25, nms=0.7, max_regions=10)


class FakeDetector:
    """Sees one box per phrase, with the scores it is given."""

    device = "cpu"
    batch_size = 1
    longest = 1333

    def __init__(self, *scores: float) -> None:
        self.scores = scores
        self.asked: list[list[str]] = []
        self.releases = 0

    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        return np.eye(len(images), 2, dtype=np.float32)

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        self.asked += [list(asked) for asked in phrases]
        return [self._see(len(asked)) for asked in phrases]

    def release(self) -> None:
        self.releases += 1

    def _see(self, phrases: int) -> Candidates:
        boxes = np.array([[20 * i, 0, 20 * i + 10, 10] for i in range(phrases)], np.float32)
        scores = np.diag(np.array(self.scores[:phrases], np.float32))
        return Candidates(boxes.reshape(-1, 4), scores, scores, np.zeros(phrases, np.intp))


class FakeSegmenter:
    device = "cpu"

    def __init__(self) -> None:
        self.boxes: list[Boxes] = []
        self.releases = 0

    def segment(self, image: DecodedImage, prompts: VisualPrompts) -> list[Segment]:
        assert prompts.boxes is not None
        self.boxes.append(prompts.boxes)
        mask = Mask.from_full(np.ones(image.pixels.shape[:2], np.bool_))
        return [Segment(mask, 1.0) for _ in prompts.boxes]

    def encode(self, image: DecodedImage) -> None:
        """Nothing is shared by its prompts."""

    def release(self) -> None:
        self.releases += 1


def job(prompt: str, *, with_masks: bool = True) -> InferenceRequest:
    image = DecodedImage.of(np.zeros((30, 100, 3), np.uint8))
    return InferenceRequest(
        image, parse_prompt(prompt, []), (Label("A"), Label("B")), LIMITS, with_masks
    )


def test_near_misses_score_between_the_lower_and_the_box_threshold() -> None:
    asked = replace(job("a . b . c"), with_near_misses=True)
    [found] = Pipeline(FakeDetector(0.9, 0.28, 0.155), FakeSegmenter()).run([asked])
    assert found.detections.phrases == ("a",)
    assert found.near_misses.phrases == ("b",)
    assert found.near_misses.scores.tolist() == [np.float32(0.28)]
    assert found.near_misses.labels == ("B",)
    assert found.near_misses.boxes.tolist() == [[20, 0, 30, 10]]
    assert found.masks is not None
    assert len(found.masks) == 1


@pytest.mark.parametrize(("lowest", "times"), [(0.28, 2), (0.1, 1)])
def test_boxes_are_compared_again_only_where_some_score_lies_between(
    lowest: float, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[object] = []

    def counted(*args: object, **named: object) -> Detections:
        compared.append(named["box_thresholds"])
        return select(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("grounded_labeler.models.pipeline.select", counted)
    asked = replace(job("a . b"), with_near_misses=True)
    [found] = Pipeline(FakeDetector(0.9, lowest), None).run([asked])
    assert len(compared) == times
    assert len(found.near_misses) == times - 1


def test_who_does_not_ask_for_near_misses_gets_none() -> None:
    [found] = Pipeline(FakeDetector(0.9, 0.28), None).run([job("a . b")])
    assert len(found.near_misses) == 0


def test_a_label_with_a_threshold_of_its_own_is_held_to_it() -> None:
    labels = (Label("A", score_threshold=0.95), Label("B", score_threshold=0.2))
    asked = replace(job("a . b . c"), labels=labels, with_near_misses=True)
    pipeline = Pipeline(FakeDetector(0.9, 0.28, 0.25), None)
    [found] = pipeline.run([asked])
    assert found.detections.phrases == ("b",)
    assert found.near_misses.phrases == ("a", "c")
    final = replace(asked, thresholds=replace(LIMITS, overrides_labels=True))
    [found] = pipeline.run([final])
    assert found.detections.phrases == ("a",)
    assert found.near_misses.phrases == ("b", "c")


def test_candidates_are_returned_to_who_asks_for_them() -> None:
    pipeline = Pipeline(FakeDetector(0.9, 0.28, 0.04), None)
    [without, found] = pipeline.run([job("a . b"), replace(job("a . b . c"), candidates_from=0.05)])
    assert without.candidates is None
    assert found.candidates is not None
    assert found.candidates.peaks.max(axis=1).tolist() == [np.float32(0.9), np.float32(0.28)]
    assert found.candidates.peaks.shape == (2, 3)


def test_only_what_is_kept_is_segmented() -> None:
    segmenter = FakeSegmenter()
    [found] = Pipeline(FakeDetector(0.9, 0.1), segmenter).run([job("a . b")])
    assert found.detections.labels == ("A",)
    assert [len(boxes) for boxes in segmenter.boxes] == [1]
    assert found.masks is not None
    assert [mask.size_hw for mask in found.masks] == [(30, 100)]


def test_no_masks_asked_for_means_no_segmenter_run() -> None:
    segmenter = FakeSegmenter()
    [found] = Pipeline(FakeDetector(0.9), segmenter).run([job("a", with_masks=False)])
    assert found.masks is None
    assert segmenter.boxes == []


def test_without_a_segmenter_there_are_no_masks() -> None:
    [found] = Pipeline(FakeDetector(0.9), None).run([job("a")])
    assert found.masks is None
    assert len(found.detections) == 1


def test_nothing_found_still_tells_the_best_scores() -> None:
    [found] = Pipeline(FakeDetector(0.2), None).run([job("a")])
    assert len(found.detections) == 0
    assert list(found.best_scores) == [np.float32(0.2)]


def test_jobs_keep_their_order_and_their_prompts() -> None:
    detector = FakeDetector(0.9, 0.8)
    found = Pipeline(detector, None).run([job("b"), job("a . b"), job("a")])
    assert detector.asked == [["b"], ["a", "b"], ["a"]]
    assert [answer.detections.labels for answer in found] == [("B",), ("A", "B"), ("A",)]


def test_no_jobs_no_answers() -> None:
    assert Pipeline(FakeDetector(), None).run([]) == []


def test_another_threshold_on_an_image_seen_runs_no_model() -> None:
    detector, segmenter = FakeDetector(0.9, 0.5), FakeSegmenter()
    pipeline = Pipeline(detector, segmenter, ByteCache(10**6))
    [first] = pipeline.run([job("a . b")])
    [second] = pipeline.run([replace(job("a . b"), thresholds=replace(LIMITS, box=0.6))])
    assert (len(first.detections), len(second.detections)) == (2, 1)
    assert len(detector.asked) == 1
    assert [len(boxes) for boxes in segmenter.boxes] == [2]
    assert first.masks is not None
    assert second.masks is not None
    np.testing.assert_array_equal(second.masks[0].full(), first.masks[0].full())


def test_masks_are_handed_out_packed_and_keep_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[PackedMask] = []
    monkeypatch.setattr(PackedMask, "pixels", unpacked.append)
    pipeline = Pipeline(FakeDetector(0.9), FakeSegmenter(), ByteCache(10**6))
    [[first], [second]] = [pipeline.run([job("a")])[0].masks or () for _ in range(2)]
    assert first.key is not None
    assert first.key == second.key
    assert first is not second, "who unpacks one has it for himself"
    assert unpacked == []


def test_only_boxes_that_no_mask_is_known_of_are_segmented() -> None:
    detector, segmenter = FakeDetector(0.9, 0.5), FakeSegmenter()
    pipeline = Pipeline(detector, segmenter, ByteCache(10**6))
    pipeline.run([replace(job("a . b"), thresholds=replace(LIMITS, box=0.6))])
    [found] = pipeline.run([job("a . b")])
    assert len(detector.asked) == 1
    assert [boxes.tolist() for boxes in segmenter.boxes] == [[[0, 0, 10, 10]], [[20, 0, 30, 10]]]
    assert found.masks is not None
    assert len(found.masks) == 2


def test_another_prompt_or_image_is_asked() -> None:
    detector = FakeDetector(0.9, 0.5)
    pipeline = Pipeline(detector, None, ByteCache(10**6))
    other = replace(job("a"), image=DecodedImage.of(np.ones((30, 100, 3), np.uint8)))
    pipeline.run([job("a"), job("a . b"), other])
    pipeline.run([job("b"), job("a"), other])
    assert detector.asked == [["a"], ["a", "b"], ["a"], ["b"]]


def test_a_pipeline_releases_the_memory_of_both_models() -> None:
    detector, segmenter = FakeDetector(0.9), FakeSegmenter()
    Pipeline(detector, segmenter).release()
    assert (detector.releases, segmenter.releases) == (1, 1)
    Pipeline(detector, None).release()
    assert (detector.releases, segmenter.releases) == (2, 1)


class Stages:
    """An observer that notes what begins and ends."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        self.seen.append(f"{stage} begins")
        yield
        self.seen.append(f"{stage} ends")


def test_an_observer_sees_every_stage_of_every_model_once(demo_pipeline: Pipeline) -> None:
    stages = Stages()
    detector = load_detector("transformers", DEMO, Options(observer=stages))
    segmenter = load_segmenter("sam", SEGMENTERS["demo"].folder(DEMO), Compute(), observer=stages)
    image = decode((SAMPLES / "wide.jpg").read_bytes())
    one = replace(job("red circle"), image=DecodedImage.of(image), labels=())
    [found] = Pipeline(detector, segmenter, observer=stages).run([one])
    assert len(found.detections) > 0
    expected = [f"{stage} {moment}" for stage in Stage for moment in ("begins", "ends")]
    assert sorted(set(stages.seen)) == sorted(expected)
    order = [line.split()[0] for line in stages.seen if line.endswith("begins")]
    assert list(dict.fromkeys(order)) == [
        "prepare", "encode_image", "encode_text", "decode", "select", "segment_encode",
        "upscale", "segment_decode",
    ]  # fmt: skip
    [same] = demo_pipeline.run([one])
    # What it has kept of this image was computed by as many threads as another test asked for.
    np.testing.assert_allclose(found.detections.boxes, same.detections.boxes, atol=0.1)


class PresenceDetector(FakeDetector):
    """Scores whole phrases, and says how likely each is in the image."""

    def _see(self, phrases: int) -> Candidates:
        presence = np.array(self.scores[:phrases], np.float32)
        return replace(super()._see(phrases), presence=presence, scores_tokens=False)


def test_presence_reaches_the_result_and_the_text_threshold_has_no_effect() -> None:
    strict = replace(job("a . b"), thresholds=replace(LIMITS, text=1.0))
    [found] = Pipeline(PresenceDetector(0.5, 0.25), None).run([strict])
    assert found.detections.phrases == ("a",)
    assert found.presence == (0.5, 0.25)
    [without] = Pipeline(FakeDetector(0.5, 0.25), None).run([strict])
    assert len(without.detections) == 0
    assert without.presence is None
