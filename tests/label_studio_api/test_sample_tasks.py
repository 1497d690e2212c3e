"""What is asked of Label Studio for a few tasks; a flow of `make e2e` asks a real one."""

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from grounded_labeler.label_studio_api.client import Client
from grounded_labeler.label_studio_api.sample_tasks import SampleTasks


@dataclass
class Task:
    id: int

    def model_dump(self) -> dict[str, Any]:
        return {"id": self.id, "data": {"image": f"/{self.id}.jpg"}, "total_annotations": 3}


def tasks_of(ids: list[int], asked: list[dict[str, Any]]) -> SampleTasks:
    """Tasks of project 7, on an SDK that returns these and notes what it was asked."""

    def listed(**query: Any) -> SimpleNamespace:
        asked.append(query)
        return SimpleNamespace(items=[Task(number) for number in ids])

    client = Client("http://127.0.0.1:1", "0123456789abcdef0123456789abcdef01234567")
    project = SimpleNamespace(label_config="<View/>")
    client.sdk = SimpleNamespace(
        tasks=SimpleNamespace(list=listed), projects=SimpleNamespace(get=lambda **_: project)
    )
    return SampleTasks(client, 7)


def test_one_page_is_asked_for() -> None:
    asked: list[dict[str, Any]] = []
    tasks = tasks_of([3, 5], asked)
    assert tasks.first(50) == [
        {"id": 3, "data": {"image": "/3.jpg"}},
        {"id": 5, "data": {"image": "/5.jpg"}},
    ]
    assert [(one["project"], one["page"], one["page_size"]) for one in asked] == [(7, 1, 50)]
    assert tasks.label_config() == "<View/>"


def test_one_task_is_asked_for_by_its_id() -> None:
    asked: list[dict[str, Any]] = []
    assert tasks_of([8], asked).find(8) == {"id": 8, "data": {"image": "/8.jpg"}}
    [item] = json.loads(asked[0]["query"])["filters"]["items"]
    assert (item["filter"], item["value"]) == ("filter:tasks:id", 8)
    assert tasks_of([], asked).find(9) is None
