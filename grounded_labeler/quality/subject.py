"""What is measured on: the annotated images of a project, or a folder with its truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.evaluation.types import Truth
from grounded_labeler.label_studio.schema import ImageTarget, LabelConfig
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.sources import Source


class TruthError(GroundedLabelerError):
    """What people said of one image cannot be used; the others are measured."""


class ReadTruth(Protocol):
    """Tells what people say is in an image."""

    def __call__(self, task: Task, target: str, size_hw: tuple[int, int], /) -> Truth | None:
        """Return the truth of the image that the label config calls `target`.

        `size_hw` is the size of the displayed image, which an annotation without a region does
        not say. None where nobody said anything. Raises TruthError where what was said cannot be
        laid on an image of this size.
        """


@dataclass(frozen=True)
class Subject:
    """The images of which people said what is in them.

    Attributes:
        source: where the images come from.
        config: what the project can hold; of a folder, its labels.
        tasks: the tasks that have a truth, by id.
        truth: tells what people say is in an image of a task.
        has_masks: whether any truth has a mask.
        project: the number of the project, empty for a folder.
        remembered: tells the prompt that was typed last for an image tag, None if none was.
    """

    source: Source
    config: LabelConfig
    tasks: Sequence[Task]
    truth: ReadTruth
    has_masks: bool
    project: str
    remembered: Callable[[ImageTarget], str | None]
