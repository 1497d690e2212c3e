"""Flow 7: predictions for many tasks at once, from the data manager."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from e2e.configs import BOXES, view
from e2e.conftest import StartService
from e2e.label_studio import LabelStudio
from e2e.pages import DataManager, save_for_docs
from e2e.truth import best_overlap, of_type
from grounded_labeler.demo.shapes import DrawnImage, draw_image

TASKS = 30


@pytest.fixture(scope="module")
def labels_asked(start_service: StartService, label_studio: LabelStudio) -> Iterator[str]:
    """A service with the default PREANNOTATE: asked without a prompt, it looks for the labels."""
    with start_service("batches") as url:
        yield url


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, DrawnImage]:
    """Images of 30 sizes, from 200x300 to 780x590, some with alpha, some grey on disk."""
    folder = tmp_path_factory.mktemp("images")
    drawn = {}
    for i in range(TASKS):
        size = (200 + 20 * i, 300 + 10 * i) if i % 2 else (200 + 20 * i, 220 + 8 * i)
        image = draw_image(np.random.default_rng(91_000 + i), size, max_shapes=3)
        path = folder / f"image-{i:02}.png"
        Image.fromarray(image.image).convert("RGBA" if i % 3 == 0 else "RGB").save(path)
        drawn[path] = image
    return drawn


def retrieve(
    data_manager: DataManager, label_studio: LabelStudio, project: int, expected: int
) -> list[dict[str, Any]]:
    """Ask for predictions until there are as many as expected.

    What a slow machine does not reach within the request's deadline is asked for the next time.
    """
    for _ in range(TASKS):
        data_manager.retrieve_predictions(project)
        found = label_studio.predictions(project)
        if len(found) >= expected:
            break
    return found


@pytest.mark.compatibility
def test_30_tasks_of_mixed_sizes_and_nothing_is_repeated(
    label_studio: LabelStudio,
    labels_asked: str,
    data_manager: DataManager,
    images: dict[Path, DrawnImage],
    page: Page,
    out: Path,
) -> None:
    project = label_studio.project("Thirty images", view(BOXES))
    label_studio.connect(project, labels_asked)
    tasks = label_studio.upload(project, *images)
    first = retrieve(data_manager, label_studio, project, len(tasks))
    assert sorted(prediction["task"] for prediction in first) == sorted(tasks)
    by_task = {prediction["task"]: prediction["result"] for prediction in first}
    overlaps = [
        best_overlap(shape, of_type(by_task[task], "rectanglelabels"))
        for task, image in zip(tasks, images.values(), strict=True)
        for shape in image.shapes
    ]
    # Among many small images the demo models miss a shape now and then.
    assert np.mean(np.array(overlaps) >= 0.5) >= 0.9
    data_manager.retrieve_predictions(project)
    again = label_studio.predictions(project)
    assert sorted(p["id"] for p in again) == sorted(p["id"] for p in first)
    data_manager.open(project)
    save_for_docs(page, out / "docs", "whole-project")


def test_one_broken_image_leaves_the_others_their_predictions(
    label_studio: LabelStudio,
    labels_asked: str,
    data_manager: DataManager,
    images: dict[Path, DrawnImage],
    out: Path,
    tmp_path: Path,
) -> None:
    broken_file = tmp_path / "broken.png"
    broken_file.write_bytes(next(iter(images)).read_bytes()[:2_000])
    project = label_studio.project("One is broken", view(BOXES))
    label_studio.connect(project, labels_asked)
    paths = list(images)
    tasks = label_studio.upload(project, *paths[:10], broken_file, *paths[11:])
    broken = tasks[10]
    found = retrieve(data_manager, label_studio, project, len(tasks) - 1)
    predicted = {prediction["task"] for prediction in found}
    assert predicted == set(tasks) - {broken}
    log = out / "batches" / "service.log"
    before = log.stat().st_size
    data_manager.retrieve_predictions(project)
    asked_again = log.read_text()[before:]
    assert f"task {broken}:" in asked_again
    assert "damaged" in asked_again
    assert not any(f"task {task}:" in asked_again for task in tasks if task != broken)
    assert len(label_studio.predictions(project)) == TASKS - 1
