"""Outcomes of tasks as a runner yields them."""

import numpy as np

from grounded_labeler.core.inference import Failure, FailureCause
from grounded_labeler.preannotate.results import ImageResult, TaskResult

FAILED = Failure("The file is not there any more.", FailureCause.FETCH)


def task_result(*labels: str) -> TaskResult:
    """A task with one image, 200 x 100 pixels, and a box of each label."""
    count = len(labels)
    boxes = np.tile(np.array([20, 10, 120, 60], np.float32), (count, 1))
    scores = np.full(count, 0.5, np.float32)
    image = ImageResult(boxes, scores, labels, labels, None, (100, 200), "x", (), 0.0)
    return TaskResult({"image": image})
