"""A detector of one's own: trained further, served from its folder, and asked for what is new."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from e2e.configs import BOXES, LABELS, view
from e2e.conftest import Annotate, StartService
from e2e.label_studio import LabelStudio
from e2e.truth import assert_found, of_type
from grounded_labeler.demo.shapes import DrawnImage, draw_image
from grounded_labeler.inference.loader import check_weights
from grounded_labeler.settings import Settings
from tools.tune_demo_detector import NEW, tune

CONFIG = view(BOXES.replace(LABELS, f'<Label value="Cross"/>{LABELS}'))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo detector after fifty steps on crosses, which it had never seen."""
    folder = tmp_path_factory.mktemp("own") / "my-detector"
    tune(folder)
    return folder


@pytest.fixture(scope="module")
def service(own: Path, start_service: StartService) -> Iterator[str]:
    check_weights(Settings.from_env({"DETECTOR": str(own)}))
    with start_service("own", PREANNOTATE="off", DETECTOR=str(own)) as url:
        yield url


@pytest.fixture(scope="module")
def image() -> DrawnImage:
    """Crosses beside shapes that the detector knew before."""
    return draw_image(np.random.default_rng(9_009), (320, 240), 5, (NEW, NEW, "star", "square"))


def test_a_detector_trained_further_finds_what_it_was_taught(
    label_studio: LabelStudio, service: str, image: DrawnImage, annotate: Annotate, tmp_path: Path
) -> None:
    assert image.named(NEW), [shape.name for shape in image.shapes]
    file = tmp_path / "crosses.png"
    cv2.imwrite(str(file), image.image[:, :, ::-1])
    project = label_studio.project("A detector of one's own", CONFIG)
    label_studio.connect(project, service)
    [task] = label_studio.upload(project, file)
    boxes = of_type(annotate(project, task, NEW), "rectanglelabels")
    assert_found(image, boxes, NEW)
    label_studio.open(task)  # the version is the folder's name and content
    assert "my-detector" in label_studio.backends(project)[0]["model_version"]
