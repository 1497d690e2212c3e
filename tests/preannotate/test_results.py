"""Results go through JSON without loss, and become the predictions that the service returns."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from grounded_labeler import metrics
from grounded_labeler.core.inference import Failure, FailureCause, InferenceResult
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Candidates, DecodedImage, Detections, TileCount, Views
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.prediction_builder import PredictionBuilder
from grounded_labeler.label_studio.queries import default_queries
from grounded_labeler.label_studio.task_images import Task, TaskImage
from grounded_labeler.preannotate.exporters.label_studio import to_predictions
from grounded_labeler.preannotate.results import TaskResult, from_json, task_outcome, to_json
from grounded_labeler.preannotate.run import Run
from grounded_labeler.settings import Settings
from tests.helpers.asking import BRUSH, IMAGE, PROMPT, RECTANGLES, STATUS, view
from tests.helpers.models import DEFAULT
from tests.preannotate.outcomes import FAILED, task_result

MISSING = Failure("Task 5 has no image.", FailureCause.MISSING)
POLYGONS = RECTANGLES.replace("RectangleLabels", "PolygonLabels").replace("boxes", "polygons")
TASK: Task = {"id": 5, "data": {"image": "x"}}


def inference_result(*, masks: bool = True) -> InferenceResult:
    """Two objects with scores that have no short decimals, the second without a pixel of mask."""
    boxes = np.array([[1 / 3, 2.7, 50.123, 60], [0, 0, 99.9999, 80]], np.float32)
    scores = np.array([0.9, 1 / 3], np.float32)
    found = Detections(boxes, scores, ("red star", "a thing"), ("Star", None))
    crop = np.pad(np.tri(30, 40, dtype=np.bool_), 3)  # with a margin that no pixel is in
    pixels = Mask(crop, 5, 7, (80, 100)), Mask(np.zeros((4, 4), np.bool_), 0, 0, (80, 100))
    return InferenceResult(found, pixels if masks else None, (80, 100), (0.9, 0.1), 0.25, 0.5)


def run_of(config: str, text: str | None = None, **environ: str) -> Run:
    settings = Settings.from_env({"OUTPUT": "both", **environ})
    read = read_label_config(config)
    return Run(settings, read, default_queries(read, settings, DEFAULT, lambda _: text), "7")


def images_of(run: Run) -> list[TaskImage]:
    image = DecodedImage(np.zeros((80, 100, 3), np.uint8), "5ha")
    return [TaskImage(TASK, query, image, None, 0.0, 0.0) for query in run.queries]


@pytest.mark.parametrize("count", [0, 3])
def test_candidates_are_read_back_to_the_bit(count: int) -> None:
    rng = np.random.default_rng(0)
    seen = Candidates(
        rng.random((count, 4), np.float32),
        rng.random((count, 2), np.float32),
        rng.random((count, 2), np.float32),
        np.arange(count),
        is_coarse=True,
        presence=np.array([0.1, 0.9], np.float32),
        scores_tokens=False,
        views=Views(rng.random((count, 4), np.float32), np.arange(count) == 1, TileCount(2, 3)),
    )
    run = run_of(view(IMAGE, RECTANGLES))
    found = replace(inference_result(masks=False), candidates=seen)
    read = from_json(to_json(task_outcome(images_of(run), [found])))
    assert isinstance(read, TaskResult)
    [again] = [image.unpacked().candidates for image in read.found]
    assert again is not None
    assert again.presence is not None
    assert seen.presence is not None
    for name in ("boxes", "peaks", "means", "captions"):
        ours, theirs = getattr(seen, name), getattr(again, name)
        assert (ours.dtype, ours.tobytes()) == (theirs.dtype, theirs.tobytes())
    assert again.presence.tolist() == seen.presence.tolist()
    assert (again.is_coarse, again.scores_tokens) == (True, False)
    assert again.views is not None
    assert again.views.tiles == TileCount(2, 3)
    assert seen.views is not None
    assert again.views.frames.tobytes() == seen.views.frames.tobytes()
    assert again.views.is_cut.tolist() == [number == 1 for number in range(count)]


def test_presence_is_read_back_and_what_was_written_before_there_was_any() -> None:
    run, found = run_of(view(IMAGE, RECTANGLES)), inference_result(masks=False)
    presence = tuple(0.25 for _ in found.best_scores)
    written = to_json(task_outcome(images_of(run), [replace(found, presence=presence)]))
    read = from_json(written)
    assert isinstance(read, TaskResult)
    assert read.found[0].unpacked().presence == presence
    older = json.loads(written)
    [image] = older["images"].values()
    del image["presence"], image["candidates"], image["tiles"]
    read = from_json(json.dumps(older))
    assert isinstance(read, TaskResult)
    assert read.found[0].unpacked().presence is None


@pytest.mark.parametrize("masks", [True, False])
def test_what_is_written_is_read_back_without_loss(masks: bool) -> None:
    run, found = run_of(view(IMAGE, RECTANGLES)), inference_result(masks=masks)
    outcome = task_outcome(images_of(run), [found])
    assert isinstance(outcome, TaskResult)
    written = to_json(TaskResult({**outcome.images, "other": MISSING}))
    read = from_json(written)
    assert to_json(read) == written
    assert isinstance(read, TaskResult)
    assert read.images["other"] == MISSING
    [image] = read.found
    assert (image.sha256, image.names) == ("5ha", ["Star", "a thing"])
    back = image.unpacked()
    np.testing.assert_array_equal(back.detections.boxes, found.detections.boxes)
    np.testing.assert_array_equal(back.detections.scores, found.detections.scores)
    assert (back.size_hw, back.best_scores) == (found.size_hw, found.best_scores)
    if not masks:
        assert back.masks is None
        return
    assert back.masks is not None
    assert found.masks is not None
    for one, other in zip(back.masks, found.masks, strict=True):
        np.testing.assert_array_equal(one.full(), other.full())


def test_an_image_without_objects_and_a_failure_are_read_back() -> None:
    read = from_json(to_json(task_result()))
    assert isinstance(read, TaskResult)
    assert read.found[0].boxes.shape == (0, 4)
    assert from_json(to_json(FAILED)) == FAILED


@pytest.mark.parametrize(
    ("second", "failure"), [(FAILED, FAILED), (MISSING, None), (inference_result(), None)]
)
def test_a_task_fails_with_an_image_that_may_be_had_later(
    second: InferenceResult | Failure, failure: Failure | None
) -> None:
    run = run_of(
        view('<Image name="a" value="$image"/><Image name="b" value="$other"/>')
        .replace("</View>", RECTANGLES.replace('"image"', '"a,b"') + "</View>")
    )  # fmt: skip
    before = metrics.REGIONS._value.get()
    outcome = task_outcome(images_of(run), [inference_result(), second])
    counted = metrics.REGIONS._value.get() - before
    if failure is not None:
        assert (outcome, counted) == (failure, 0)
        return
    assert isinstance(outcome, TaskResult)
    assert list(outcome.images) == ["a", "b"]
    assert counted == 2 * len(outcome.found)
    assert task_outcome(images_of(run), [MISSING, MISSING]) == MISSING


@pytest.mark.parametrize("text", [None, "red star . bus"])
@pytest.mark.parametrize(
    ("tags", "masks"),
    [([RECTANGLES, BRUSH], True), ([RECTANGLES, BRUSH], False), ([POLYGONS], True)],
)
def test_predictions_are_those_of_the_service(
    tags: list[str], text: str | None, masks: bool
) -> None:
    run = run_of(view(PROMPT, STATUS, IMAGE, *tags), text, PREANNOTATE="auto")
    images, found = images_of(run), inference_result(masks=masks)
    builder = PredictionBuilder(run.config, run.settings.output, run.version, typed=False)
    outcome = from_json(to_json(task_outcome(images, [found])))
    made = to_predictions(run, {5: TASK, 6: TASK}, {5: outcome, 6: FAILED})
    assert made.keys() == {5}
    # Each region has an id of its own.
    one, other = (
        re.sub(r'"id": "[\w-]+"', "", json.dumps(prediction))
        for prediction in (made[5], builder.of_task(images, [found]))
    )
    assert one == other


def test_embeddings_and_what_is_nearly_black_are_read_back() -> None:
    run = run_of(view(IMAGE, RECTANGLES))
    vector = np.random.default_rng(0).random(16, np.float32)
    [image] = images_of(run)
    given = replace(inference_result(), embedding=vector)
    image = replace(
        image,
        is_nearly_black=True,
        image=DecodedImage(np.zeros((80, 100, 3), np.uint8), "5ha-stretched"),
    )
    outcome = from_json(to_json(task_outcome([image], [given])))
    assert isinstance(outcome, TaskResult)
    [read] = outcome.found
    assert read.embedding is not None
    assert np.array_equal(read.embedding, vector)
    assert read.is_nearly_black
    assert read.sha256 == "5ha", "the digest is that of the file, however it was decoded"
