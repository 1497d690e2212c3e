"""Some tasks of a project, for people who look at them."""

from collections.abc import Mapping

from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.label_studio_api.project import Project


class SampleTasks:
    """Tasks of a project; they are listed once, and again for one that is not among them."""

    def __init__(self, project: Project) -> None:
        """Ask nothing yet."""
        self._project = project
        self._listed: Mapping[int, Task] | None = None

    def label_config(self) -> str:
        """Return its labeling interface; raises LabelStudioError, as all of these do."""
        return self._project.label_config()

    def first(self, count: int) -> list[Task]:
        """Return the tasks with the lowest ids, at most `count` of them."""
        return list((self._listed or self._list()).values())[:count]

    def find(self, number: int) -> Task | None:
        """Return the task of that id, None where the project has none."""
        if self._listed is not None and number in self._listed:
            return self._listed[number]
        return self._list().get(number)

    def _list(self) -> Mapping[int, Task]:
        parts = self._project.tasks("")  # by whether they have a prediction of a version
        tasks = sorted((task for part in parts for task in part), key=lambda task: int(task["id"]))
        self._listed = {int(task["id"]): task for task in tasks}
        return self._listed
