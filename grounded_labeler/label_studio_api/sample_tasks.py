"""A few tasks of a project, without reading all of them."""

from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.label_studio_api.project import Project


class SampleTasks:
    """Tasks of the project of this number, over the API of the Label Studio at `url`."""

    def __init__(self, url: str, token: str, number: int) -> None:
        """Raises LabelStudioError for a token that is no longer valid; nothing is asked yet."""
        self._project = Project(url, token, number)

    def label_config(self) -> str:
        """Return its labeling interface; raises LabelStudioError, as all of these do."""
        return self._project.label_config()

    def first(self, count: int) -> list[Task]:
        """Return the tasks with the lowest ids, at most `count` of them."""
        left, _ = self._project.tasks("")
        return left[:count]

    def find(self, number: int) -> Task | None:
        """Return the task of that id, None where the project has none."""
        left, _ = self._project.tasks("", only=[number])
        return next(iter(left), None)
