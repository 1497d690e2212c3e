"""The truth of a project is what people submitted there, laid on its images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grounded_labeler.errors import SettingsError
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio_api.project import Project
from grounded_labeler.quality.project_truth import project_subject
from grounded_labeler.quality.subject import Subject, TruthError
from grounded_labeler.settings import Settings
from tests.helpers.asking import BRUSH, IMAGE, PROMPT, RECTANGLES, view
from tests.helpers.drawing import box
from tests.preannotate import label_studio_server as stand_in

CONFIG = view(PROMPT, IMAGE, RECTANGLES, BRUSH)
[TARGET] = read_label_config(CONFIG).images
FIRST, SECOND = (label.value for label in TARGET.labels[:2])


@pytest.fixture
def server() -> Iterator[stand_in.Project]:
    with stand_in.serve(stand_in.Project(CONFIG)) as project:
        for name in "abcd":
            project.add(f"/{name}.jpg")
        yield project


def subject_of(server: stand_in.Project, tmp_path: Path, **options: Any) -> Subject:
    settings = Settings.from_env(
        {"DETECTOR": "demo", "SEGMENTER": "none", "DATA_DIR": str(tmp_path)}
    )
    project = Project(server.url, "token", server.number)
    return project_subject(project, settings, **options)


def test_submitted_annotations_are_the_truth_of_the_displayed_image(
    server: stand_in.Project, tmp_path: Path
) -> None:
    server.annotate(2, [box(10, 10, 20, 50, label=FIRST)])
    server.annotate(3, [])
    subject = subject_of(server, tmp_path)
    assert [task["id"] for task in subject.tasks] == [2, 3]
    assert (subject.project, subject.has_masks) == ("7", False)
    truth = subject.truth(subject.tasks[0], TARGET.name, (200, 100))
    assert truth is not None
    assert truth.labels == (FIRST,)
    assert truth.boxes.tolist() == [[10, 20, 30, 120]]
    nothing = subject.truth(subject.tasks[1], TARGET.name, (200, 100))
    assert nothing is not None
    assert (len(nothing), nothing.size_hw) == (0, (200, 100))


def test_only_those_that_are_asked_for(server: stand_in.Project, tmp_path: Path) -> None:
    other = {"id": 5, "email": "other@example.com", "username": "other"}
    server.users.append(other)
    server.annotate(1, [box(10, 10, 20, 20, label=FIRST)])
    server.annotate(2, [box(10, 10, 20, 20, label=SECOND)], completed_by=5)
    by_other = subject_of(server, tmp_path, annotator="other@example.com")
    assert [task["id"] for task in by_other.tasks] == [2]
    assert [task["id"] for task in subject_of(server, tmp_path, annotator=1).tasks] == [1]
    assert [task["id"] for task in subject_of(server, tmp_path, task_ids=[2]).tasks] == [2]


def test_a_mask_of_an_image_of_another_size_is_told(
    server: stand_in.Project, tmp_path: Path
) -> None:
    region = {
        "id": "m", "from_name": "masks", "to_name": TARGET.name, "type": "brushlabels",
        "original_width": 10, "original_height": 10,
        "value": {"format": "rle", "rle": [0, 0, 1, 144, 37, 7, 255], "brushlabels": [FIRST]},
    }  # fmt: skip
    server.annotate(1, [region])
    subject = subject_of(server, tmp_path)
    assert subject.has_masks
    with pytest.raises(TruthError):
        subject.truth(subject.tasks[0], TARGET.name, (200, 100))


def test_without_an_annotation_there_is_nothing_to_measure_with(
    server: stand_in.Project, tmp_path: Path
) -> None:
    server.annotate(1, [box(10, 10, 20, 20, label=FIRST)], was_cancelled=True)
    with pytest.raises(SettingsError, match="no submitted annotation"):
        subject_of(server, tmp_path)
