"""One run of the detector an image, whatever is swept; and what the service would return."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grounded_labeler.core.types import Label
from grounded_labeler.errors import PromptError
from grounded_labeler.evaluation.types import Found, Truth
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.schema import Overrides
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.labeler import Labeler
from grounded_labeler.preannotate.local_runner import run_locally
from grounded_labeler.preannotate.results import TaskOutcomes
from grounded_labeler.preannotate.run import Run
from grounded_labeler.preannotate.running import Running
from grounded_labeler.quality.candidates import FLOOR, CandidateSet, Variant
from grounded_labeler.quality.subject import TruthError
from grounded_labeler.settings import Settings
from tests.quality.drawn import LABELS, draw, drawn_subject

pytestmark = pytest.mark.slow

SETTINGS = Settings.from_env({"DETECTOR": "demo", "SEGMENTER": "demo"})


class CountingRunner:
    """Runs in this process and counts the tasks; ends by an interrupt after `stop` of them."""

    def __init__(self, stop: int | None = None) -> None:
        self.tasks = 0
        self._stop = stop

    def __call__(
        self, run: Run, tasks: Sequence[Task], concurrency: int
    ) -> Generator[TaskOutcomes, None, None]:
        for outcomes in run_locally(run, tasks, concurrency):
            if self._stop is not None and self.tasks >= self._stop:
                raise KeyboardInterrupt
            self.tasks += len(outcomes)
            yield outcomes


def plain(found: Found) -> list[tuple[str, list[float], float]]:
    rows = zip(found.labels, found.boxes.tolist(), found.scores.tolist(), strict=True)
    return [(name, box, score) for name, box, score in rows]


@pytest.mark.parametrize("tiles", ["off", "150"])
def test_what_is_found_is_what_the_service_finds_at_any_threshold(
    tmp_path: Path, tiles: str
) -> None:
    subject = drawn_subject(tmp_path / "images", draw(4))
    runner = CountingRunner()
    settings = SETTINGS.model_copy(update={"tiles": tiles})
    kept = CandidateSet(subject, Variant(), settings, Running(tmp_path / "out", runner))
    assert kept.labels == tuple(label.value for label in LABELS)
    assert kept.run() == {}
    assert runner.tasks == 4
    images = list(kept.images())
    assert [image.task for image in images] == ["0000.png", "0001.png", "0002.png", "0003.png"]
    own = tuple(replace(one, score_threshold=0.9) for one in LABELS[:2]) + LABELS[2:]
    with Labeler("demo", "none") as labeler:
        for image in images:
            path = tmp_path / "images" / str(image.task)
            for threshold in (0.1, 0.3, 0.7):
                result = labeler.label(path, None, LABELS, box_threshold=threshold, tiles=tiles)
                found = image.found([threshold] * len(LABELS))
                assert found.labels == result.names
                assert np.array_equal(found.boxes, result.boxes)
                assert np.array_equal(found.scores, result.scores)
            assert image.found().labels == labeler.label(path, None, LABELS, tiles=tiles).names
            mixed = labeler.label(path, None, own, tiles=tiles)
            assert image.found([0.9, 0.9, 0.3, 0.3, 0.3]).labels == mixed.names
            assert image.found_from_floor().masks is None
    assert kept.run() == {}
    assert runner.tasks == 4, "nothing is run again"


def test_an_interrupted_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(20))
    whole = CandidateSet(subject, Variant(), SETTINGS, Running(tmp_path / "whole"))
    whole.run()
    ended = CountingRunner(stop=17)
    with pytest.raises(KeyboardInterrupt):
        CandidateSet(subject, Variant(), SETTINGS, Running(tmp_path / "out", ended)).run()
    rest = CountingRunner()
    kept = CandidateSet(subject, Variant(), SETTINGS, Running(tmp_path / "out", rest))
    kept.run()
    assert 0 < rest.tasks < 20
    assert [plain(one.found()) for one in kept.images()] == [
        plain(one.found()) for one in whole.images()
    ]


def test_masks_are_made_of_all_that_scores_at_least_the_floor(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(1))
    running = Running(tmp_path / "out")
    kept = CandidateSet(subject, Variant(), SETTINGS, running, with_masks=True)
    kept.run()
    [image] = kept.images()
    found = image.found_from_floor()
    assert found.masks is not None
    assert len(found.masks) == len(found) >= len(image.found())
    assert found.scores.min() >= FLOOR


def test_variants_are_kept_apart_in_one_journal(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(2))
    running = Running(tmp_path / "out")
    plain_one = CandidateSet(subject, Variant(), SETTINGS, running)
    prompted = CandidateSet(subject, Variant(prompt="red circle . cup"), SETTINGS, running)
    strict = CandidateSet(
        subject, Variant(overrides=Overrides(text_threshold=0.9)), SETTINGS, running
    )
    assert len({one.version for one in (plain_one, prompted, strict)}) == 3
    assert prompted.labels == ("Circle", "cup")
    for one in (plain_one, prompted, strict):
        one.run()
    assert [image.candidates.peaks.shape[1] for image in prompted.images()] == [2, 2]
    assert [image.candidates.peaks.shape[1] for image in plain_one.images()] == [5, 5]


def test_without_labels_and_prompt_there_is_nothing_to_look_for(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(1), labels=())
    with pytest.raises(PromptError, match="no labels to look for"):
        CandidateSet(subject, Variant(), SETTINGS, Running(tmp_path / "out"))


def test_images_that_fail_are_told_and_the_others_measured(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(2))
    (tmp_path / "images" / "0000.png").write_bytes(b"no image")
    kept = CandidateSet(subject, Variant(), SETTINGS, Running(tmp_path / "out"))
    assert list(kept.run()) == ["0000.png"]
    assert [image.task for image in kept.images()] == ["0001.png"]


def test_a_label_of_a_config_keeps_its_own_threshold(tmp_path: Path) -> None:
    labels = (Label("Circle", score_threshold=1.0), *LABELS[1:])
    subject = drawn_subject(tmp_path / "images", draw(6), labels=labels)
    kept = CandidateSet(subject, Variant(), SETTINGS, Running(tmp_path / "out"))
    kept.run()
    names = [name for image in kept.images() for name in image.found().labels]
    assert "Circle" not in names
    assert "Star" in names or "Square" in names
    raised = [name for image in kept.images() for name in image.found([FLOOR] * len(labels)).labels]
    assert "Circle" in raised


def test_a_truth_that_fits_no_image_takes_no_other_with_it(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(3))

    def truth(task: Task, target: str, size_hw: tuple[int, int]) -> Truth | None:
        if task["id"] == "0001.png":
            raise TruthError("The mask is of another image.")
        return None if task["id"] == "0002.png" else subject.truth(task, target, size_hw)

    kept = CandidateSet(
        replace(subject, truth=truth), Variant(), SETTINGS, Running(tmp_path / "out")
    )
    assert kept.run() == {"0001.png": "The mask is of another image."}
    assert [image.task for image in kept.images()] == ["0000.png"]


def test_labels_that_tasks_bring_are_looked_for(tmp_path: Path) -> None:
    xml = """<View><Image name="image" value="$image"/><RectangleLabels name="l" toName="image">
        <Label value="Circle"/></RectangleLabels>
        <Labels name="own" toName="image" value="$kinds"/><Rectangle name="r" toName="image"/>
        </View>"""
    drawn = drawn_subject(tmp_path / "images", draw(2))
    own: list[Task] = [
        {"id": task["id"], "data": dict(task["data"]) | {"kinds": [{"value": kind}]}}
        for task, kind in zip(drawn.tasks, ("Star", "Ring"), strict=True)
    ]
    subject = replace(drawn, config=read_label_config(xml), tasks=own)
    kept = CandidateSet(subject, Variant(), SETTINGS, Running(tmp_path / "out"))
    assert kept.labels == ("Circle", "Star", "Ring")


def test_a_threshold_typed_in_a_prompt_holds_for_what_is_measured_alone(tmp_path: Path) -> None:
    subject = drawn_subject(tmp_path / "images", draw(2))
    prompt = "star > 0.9 . circle"
    runner = CountingRunner()
    kept = CandidateSet(subject, Variant(prompt), SETTINGS, Running(tmp_path / "out", runner))
    assert "star 0.9 (prompt)" in kept.first_line
    assert kept.run() == {}
    for image in kept.images():
        assert image.query.box_thresholds == (0.9, 0.3)
        found = image.found()
        assert (
            found.scores[np.array([name == "star" for name in found.labels], bool)].min(initial=1)
            >= 0.9
        )
    assert runner.tasks == 2
