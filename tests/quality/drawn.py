"""Folders of drawn shapes with their truth, for what is measured with the demo models."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from grounded_labeler.coco import coco_rle
from grounded_labeler.core.masks import Mask
from grounded_labeler.core.types import Label
from grounded_labeler.demo.shapes import DrawnImage, draw_image
from grounded_labeler.demo.shapes import Shape as DrawnShape
from grounded_labeler.evaluation.types import Truth
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.image_folder import read_folder
from grounded_labeler.preannotate.plan import folder_config
from grounded_labeler.preannotate.results import TaskId
from grounded_labeler.quality.subject import Subject

SEED = 30_000  # no image of the demo models' training, nor of `make figures`
LABELS = tuple(map(Label, ("Circle", "Square", "Triangle", "Star", "Ring")))


def label_of(shape: DrawnShape) -> str:
    """The label of a shape, as the demo's projects have it."""
    return shape.kind.capitalize()


def draw(count: int, seed: int = SEED) -> list[DrawnImage]:
    """Draw so many images of 320 x 240 pixels."""
    return [draw_image(np.random.default_rng(seed + i)) for i in range(count)]


def truth_of(drawn: DrawnImage, name: Callable[[DrawnShape], str] = label_of) -> Truth:
    """What is in a drawn image, with masks."""
    shapes = drawn.shapes
    return Truth(
        np.array([shape.box for shape in shapes], np.float32).reshape(-1, 4),
        tuple(name(shape) for shape in shapes),
        tuple(coco_rle(Mask.from_full(shape.mask)) for shape in shapes),
        np.zeros(len(shapes), np.bool_),
        (drawn.image.shape[0], drawn.image.shape[1]),
    )


def drawn_subject(
    folder: Path,
    images: Sequence[DrawnImage],
    labels: Sequence[Label] = LABELS,
    name: Callable[[DrawnShape], str] = label_of,
) -> Subject:
    """Write the images into a folder, and return it with its truth."""
    folder.mkdir(parents=True, exist_ok=True)
    truths: dict[tuple[TaskId, str], Truth] = {}
    for number, drawn in enumerate(images):
        file = f"{number:04}.png"
        Image.fromarray(drawn.image).save(folder / file)
        truths[file, "image"] = truth_of(drawn, name)
    read = read_folder([folder], folder.parent / "out")

    def truth(task: Task, target: str, size_hw: tuple[int, int]) -> Truth | None:
        return truths.get((task["id"], target))

    return Subject(
        read, folder_config(labels), read.tasks, truth, True, "", remembered=lambda _: None
    )
