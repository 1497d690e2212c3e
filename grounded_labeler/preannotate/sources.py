"""Where the images of a run come from, and how a result is known to be of them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from grounded_labeler.errors import NoImage
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio.task_images import Task, address_of
from grounded_labeler.preannotate.names import GROUP_KEY, GROUP_PREFIX, Address, file_names
from grounded_labeler.preannotate.results import TaskResult


class Source(Protocol):
    """A folder, or a project of Label Studio."""

    @property
    def identity(self) -> str:
        """JSON that no other source has."""

    @property
    def name(self) -> str:
        """What sentences call it."""

    def content(self, task: Task) -> str:
        """Tell what there is to look at now; another content must be looked at again."""

    def content_seen(self, task: Task, result: TaskResult) -> str:
        """Tell the content that this result was made of."""

    def names(self, images: Sequence[tuple[Task, ImageTarget]]) -> list[str]:
        """Name each image for a dataset, each name once."""


@dataclass(frozen=True)
class ProjectSource:
    """The project `number` that the Label Studio at `url` made at the time `created`.

    An image is known by its address: what lies there is not read again. Where labels are
    looked for that tasks bring, all of a task's data counts.
    """

    url: str
    number: int
    created: str
    targets: tuple[ImageTarget, ...]

    @property
    def identity(self) -> str:
        return json.dumps({"url": self.url, "project": self.number, "created": self.created})

    @property
    def name(self) -> str:
        return f"project {self.number} of {self.url}, made at {self.created}"

    def content(self, task: Task) -> str:
        asked: list[object] = [address_or_empty(task, target) for target in self.targets]
        if any(target.has_task_labels for target in self.targets):
            asked.append(_without_group(task["data"]))
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def content_seen(self, task: Task, result: TaskResult) -> str:
        return self.content(task)

    def names(self, images: Sequence[tuple[Task, ImageTarget]]) -> list[str]:
        return file_names(
            Address(task["id"], target.name, address_or_empty(task, target))
            for task, target in images
        )


def _without_group(data: Mapping[str, object]) -> Mapping[str, object]:
    """Leave out the group that this command itself wrote: it changes nothing that is asked."""
    if str(data.get(GROUP_KEY, "")).startswith(GROUP_PREFIX):
        return {key: value for key, value in data.items() if key != GROUP_KEY}
    return data


def group_of(task: Task) -> str:
    """The group in a task's data, whose images belong together; empty when there is none."""
    group = task["data"].get(GROUP_KEY)
    return str(group) if isinstance(group, str | int) else ""


def address_or_empty(task: Task, target: ImageTarget) -> str:
    """What the task calls this image; empty when it has none."""
    try:
        return address_of(task, target)
    except NoImage:
        return ""
