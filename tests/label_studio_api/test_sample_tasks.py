"""Tasks are listed once, and again for one that came later."""

from collections.abc import Collection
from typing import cast

from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.label_studio_api.project import Project
from grounded_labeler.label_studio_api.sample_tasks import SampleTasks


class Listing:
    """Stands for a project: has the tasks of these ids, and counts how often they are listed."""

    def __init__(self, *ids: int) -> None:
        self.ids, self.listed = list(ids), 0

    def label_config(self) -> str:
        return "<View/>"

    def tasks(
        self, version: str, view: int | None = None, only: Collection[int] | None = None
    ) -> tuple[list[Task], list[Task]]:
        self.listed += 1
        tasks: list[Task] = [{"id": number, "data": {"image": str(number)}} for number in self.ids]
        return tasks[1:], tasks[:1]


def test_the_first_tasks_are_those_with_the_lowest_ids() -> None:
    project = Listing(3, 5, 9)
    tasks = SampleTasks(cast(Project, project))
    assert [task["id"] for task in tasks.first(2)] == [3, 5]
    assert [task["id"] for task in tasks.first(50)] == [3, 5, 9]
    assert tasks.find(9) == {"id": 9, "data": {"image": "9"}}
    assert project.listed == 1


def test_a_new_task_is_found() -> None:
    project = Listing(3)
    tasks = SampleTasks(cast(Project, project))
    assert tasks.find(4) is None
    project.ids.append(4)
    assert tasks.find(4) is not None
    assert SampleTasks(cast(Project, Listing())).first(50) == []
