"""The truth of a folder is a COCO dataset that names its images."""

import json
from pathlib import Path
from typing import Any

import pytest

from grounded_labeler.demo.example import LABELS, write_example
from grounded_labeler.quality.coco_document import TruthFileError
from grounded_labeler.quality.folder_truth import folder_subject
from grounded_labeler.quality.subject import TruthError


def example(tmp_path: Path, count: int = 3, **changes: Any) -> tuple[Path, Path]:
    write_example(tmp_path, count)
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(json.loads(truth.read_text()) | changes))
    return tmp_path / "images", truth


def test_all_categories_are_looked_for_or_those_that_are_named(tmp_path: Path) -> None:
    images, coco = example(tmp_path)
    subject = folder_subject([images], coco, tmp_path / "out")
    [target] = subject.config.images
    assert [label.value for label in target.labels] == list(LABELS.values())
    assert [task["id"] for task in subject.tasks] == ["0001.png", "0002.png", "0003.png"]
    assert subject.has_masks
    few = folder_subject([images], coco, tmp_path / "out", ["Star", "Cup"])
    assert [label.value for label in few.config.images[0].labels] == ["Star"]
    truth = subject.truth(subject.tasks[0], "image", (240, 320))
    assert truth is not None
    assert set(truth.labels) <= set(LABELS.values())


def test_what_is_not_measured_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, coco = example(tmp_path, 6)
    (images / "0001.png").rename(images / "other.png")
    subject = folder_subject([images], coco, tmp_path / "out")
    assert len(subject.tasks) == 5
    told = capsys.readouterr().out
    assert "does not list them: other.png." in told
    assert "as they are not there: 0001.png." in told


def test_an_image_of_another_size_is_told_with_both(tmp_path: Path) -> None:
    images, coco = example(tmp_path, 1)
    subject = folder_subject([images], coco, tmp_path / "out")
    with pytest.raises(TruthError, match=r"has 240 x 320 pixels, and .* says 320 x 240"):
        subject.truth(subject.tasks[0], "image", (320, 240))


def test_a_dataset_of_other_images_is_refused(tmp_path: Path) -> None:
    images, coco = example(tmp_path, 1)
    (images / "0001.png").rename(images / "other.png")
    with pytest.raises(TruthFileError, match="has none of the 1 images"):
        folder_subject([images], coco, tmp_path / "out")
