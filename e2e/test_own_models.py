"""A detector of one's own: trained further, served from its folder, chosen by a project."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from e2e.configs import BOXES, LABELS, view
from e2e.conftest import Annotate, StartService
from e2e.label_studio import LabelStudio
from e2e.truth import best_overlap, labels_of, of_type
from grounded_labeler.demo.shapes import DrawnImage, draw_image
from grounded_labeler.inference.loader import check_weights
from grounded_labeler.settings import Settings
from tools.tune_demo_detector import NEW, tune

ROUGHLY = 0.6  # IoU
CONFIG = view(BOXES.replace(LABELS, f'<Label value="Cross"/>{LABELS}'))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo detector after fifty steps on crosses, which it had never seen."""
    folder = tmp_path_factory.mktemp("own") / "my-detector"
    tune(folder)
    return folder


@pytest.fixture(scope="module")
def service(own: Path, start_service: StartService) -> Iterator[str]:
    """Has the bundled detector, and the own one for projects that choose it."""
    models = f"demo+demo,{own}+demo"
    check_weights(Settings.from_env({"MODELS": models}))
    with start_service("own", PREANNOTATE="off", MODELS=models) as url:
        yield url


@pytest.fixture(scope="module")
def image() -> DrawnImage:
    """Crosses beside shapes that the detector knew before."""
    return draw_image(np.random.default_rng(9_009), (320, 240), 3, (NEW, NEW, "square", "circle"))


@pytest.fixture
def file(image: DrawnImage, tmp_path: Path) -> Path:
    path = tmp_path / "crosses.png"
    cv2.imwrite(str(path), image.image[:, :, ::-1])
    return path


def test_a_project_s_own_detector_finds_what_it_was_taught(
    label_studio: LabelStudio,
    service: str,
    own: Path,
    image: DrawnImage,
    file: Path,
    annotate: Annotate,
) -> None:
    assert image.named(NEW), [shape.name for shape in image.shapes]
    chosen = CONFIG.replace('<TextArea name="prompt"', f'<TextArea name="prompt" detector="{own}"')
    project = label_studio.project("A detector of one's own", chosen)
    label_studio.connect(project, service)
    [task] = label_studio.upload(project, file)
    boxes = of_type(annotate(project, task, NEW), "rectanglelabels")
    # Fifty steps make no precise boxes, and other processors round to others.
    crosses = image.named(NEW)
    assert labels_of(boxes) == ["Cross"] * len(crosses)
    assert min(best_overlap(shape, boxes) for shape in crosses) >= ROUGHLY
    [backend] = label_studio.backends(project)
    assert backend["model_version"].startswith("my-detector+demo-")


def test_other_projects_of_the_service_keep_the_default(
    label_studio: LabelStudio, service: str, file: Path, annotate: Annotate
) -> None:
    project = label_studio.project("The default detector", CONFIG)
    label_studio.connect(project, service)
    [task] = label_studio.upload(project, file)
    boxes = of_type(annotate(project, task, NEW), "rectanglelabels")
    assert "Cross" not in labels_of(boxes)
    [backend] = label_studio.backends(project)
    assert backend["model_version"].startswith("demo+demo-")
