"""What is measured on: the annotated images of a project, or a folder with its truth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from grounded_labeler.evaluation.types import Truth
from grounded_labeler.label_studio.schema import ImageTarget, LabelConfig
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.results import TaskId
from grounded_labeler.preannotate.sources import Source


@dataclass(frozen=True)
class Subject:
    """The images of which people said what is in them.

    Attributes:
        source: where the images come from.
        config: what the project can hold; of a folder, its labels.
        tasks: the tasks that have a truth, by id.
        truths: what people say is in an image, by task and name of the Image tag. An image that
            has no entry is not measured.
        project: the number of the project, empty for a folder.
        remembered: tells the prompt that was typed last for an image tag, None if none was.
    """

    source: Source
    config: LabelConfig
    tasks: Sequence[Task]
    truths: Mapping[tuple[TaskId, str], Truth]
    project: str
    remembered: Callable[[ImageTarget], str | None]
