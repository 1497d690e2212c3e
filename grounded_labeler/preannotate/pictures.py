"""The images of tasks, fetched once more where they are to be looked at."""

from grounded_labeler.core.types import RGBImage
from grounded_labeler.images.decode import decode
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio.task_images import Task, address_of
from grounded_labeler.preannotate.local_runner import Run, reader_of
from grounded_labeler.service import label_studio_of


class Pictures:
    """The images of a run, read as the run reads them."""

    def __init__(self, run: Run) -> None:
        self._settings = run.settings
        self._reader = reader_of(run.settings, run.project)

    def image(self, task: Task, target: ImageTarget) -> RGBImage:
        """Raises ImageError when it cannot be had any more."""
        number = task["id"] if isinstance(task["id"], int) else None
        data = self._reader.fetch(address_of(task, target), label_studio_of(self._settings), number)
        return decode(data, max_pixels=self._settings.max_image_pixels)
