"""Images with what was missed and what is wrong drawn on them."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import ImageError
from grounded_labeler.evaluation.matching import match
from grounded_labeler.images.source import Source
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio.task_images import Task, load_image
from grounded_labeler.preannotate.results import TaskId
from grounded_labeler.quality.measure import JudgedImage
from grounded_labeler.quality.report.words import name_of
from grounded_labeler.rendering import Color, Shape, draw_thumbnail

# Few photographed things have these colours, and who sees few colours tells them apart, too.
MISSED: Color = (0, 255, 255)
WRONG: Color = (255, 0, 255)
RIGHT: Color = (255, 255, 255)
SIDE = 400  # pixels of the longer side
_APART = 1 / 120  # of the longer side: how far a box is drawn around another one


class ImageLoader:
    """Loads the images of tasks; those that cannot be had any more are None."""

    def __init__(
        self, source: Source, tasks: Sequence[Task], targets: Sequence[ImageTarget]
    ) -> None:
        self._source = source
        self._tasks = {task["id"]: task for task in tasks}
        self._targets = {target.name: target for target in targets}

    def load(self, task: TaskId, target: str) -> RGBImage | None:
        """Return uint8 RGB (H, W, 3), upright."""
        try:
            image = load_image(self._source, self._tasks[task], self._targets[target], math.inf)
        except ImageError:  # it was there when it was measured
            return None
        return image.pixels


def judged_shapes(image: JudgedImage) -> list[Shape]:
    """Return what is drawn: right ones thin, then missed ones, then wrong ones with their score.

    An object that was taken for another label is told at the detection, once.
    """
    truth, found, matching = image.truth, image.found, image.matching
    missed, wrong = np.flatnonzero(matching.missed), np.flatnonzero(matching.wrong)
    taken = match(found.boxes[wrong], truth.boxes[missed]).truth_of
    shapes = [
        Shape("", box=truth.boxes[row], color=RIGHT, is_thin=True)
        for row in range(len(truth))
        if not matching.missed[row]
    ]
    apart = max(truth.size_hw) * _APART * np.array([-1, -1, 1, 1], np.float32)
    for place, row in enumerate(missed):
        box, name = truth.boxes[row], name_of(truth.labels[row])
        if place in taken:
            box, name = box + apart, ""
        shapes.append(Shape(name, box=box, color=MISSED))
    for place, row in enumerate(wrong):
        name = name_of(found.labels[row])
        if taken[place] >= 0:
            name = f"{name} for {name_of(truth.labels[missed[taken[place]]])}"
        shapes.append(Shape(name, float(found.scores[row]), found.boxes[row], color=WRONG))
    return shapes


def draw_judged(pixels: RGBImage, image: JudgedImage) -> Image.Image:
    """Draw what `judged_shapes` tells, at most `SIDE` pixels wide and high."""
    return draw_thumbnail(pixels, judged_shapes(image), SIDE)


def data_uri(image: Image.Image) -> str:
    """Write an image as JPEG into an address that holds all of it."""
    written = io.BytesIO()
    image.save(written, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"
