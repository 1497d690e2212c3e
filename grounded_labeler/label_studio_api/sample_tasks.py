"""Some tasks of a project, without reading all of them: for people who look at them."""

import json
from collections.abc import Mapping

from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.label_studio_api.client import ONCE, Client

_FIELDS = "id,data"


class SampleTasks:
    """Tasks of the project of this number."""

    def __init__(self, client: Client, number: int) -> None:
        """Ask nothing yet; all that asks raises LabelStudioError."""
        self._client, self._number = client, number

    def label_config(self) -> str:
        """Return its labeling interface, as it is now."""

        def send() -> str:
            about = self._client.sdk.projects.get(id=self._number, request_options=ONCE)
            return str(about.label_config or "")

        return self._client.ask(f"project {self._number}", send)

    def first(self, count: int) -> list[Task]:
        """Return the tasks with the lowest ids, at most `count` of them."""
        return self._tasks(count, {"ordering": ["tasks:id"]})

    def last(self, count: int) -> list[Task]:
        """Return the tasks with the highest ids, at most `count` of them."""
        return self._tasks(count, {"ordering": ["-tasks:id"]})

    def containing(self, key: str, text: str, count: int) -> list[Task]:
        """Return tasks that have `text` in their data under `key`, at most `count` of them."""
        wanted = {
            "filter": f"filter:tasks:data.{key}", "operator": "contains", "type": "String",
            "value": text,
        }  # fmt: skip
        query = {"filters": {"conjunction": "and", "items": [wanted]}}
        return self._tasks(count, query)

    def find(self, number: int) -> Task | None:
        """Return the task of that id, None where the project has none."""
        wanted = {
            "filter": "filter:tasks:id", "operator": "equal", "type": "Number", "value": number,
        }  # fmt: skip
        query = {"filters": {"conjunction": "and", "items": [wanted]}}
        return next(iter(self._tasks(1, query)), None)

    def _tasks(self, count: int, query: Mapping[str, object]) -> list[Task]:
        """The first tasks of what the data manager would show for a query."""

        def send() -> list[Task]:
            page = self._client.sdk.tasks.list(
                project=self._number, page=1, page_size=count, fields="all", include=_FIELDS,
                query=json.dumps(query), resolve_uri=False, request_options=ONCE,
            )  # fmt: skip
            tasks = (task.model_dump() for task in page.items or ())
            return [{"id": task["id"], "data": task["data"]} for task in tasks]

        return self._client.ask(f"tasks of project {self._number}", send)
