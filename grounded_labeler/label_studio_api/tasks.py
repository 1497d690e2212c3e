"""The tasks of a project, page by page."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from itertools import count
from typing import Any

from label_studio_sdk.core import ApiError

from grounded_labeler.label_studio_api.client import ONCE, Client, LabelStudioError

PREDICTIONS = "predictions"  # a field with all of each
# What `include` names holds for a task and for its annotations alike, as rest_flex_fields has it:
# "annotations" alone has nothing of them but what a task has been asked for.
ANNOTATION_FIELDS = (
    "annotations", "id", "result", "created_at", "updated_at", "completed_by", "updated_by",
    "parent_prediction", "ground_truth", "was_cancelled",
)  # fmt: skip
# A brush region of a large image has a megabyte of JSON.
_WITH_REGIONS = frozenset({PREDICTIONS, "annotations"})
_PAGE = 500
_PAGE_WITH_REGIONS = 50


def read_tasks(
    client: Client,
    project: int,
    fields: Sequence[str],
    view: int | None = None,
    only: Collection[int] | None = None,
) -> list[dict[str, Any]]:
    """Read these fields of the tasks of a project, by id, each task once.

    Args:
        client: the Label Studio.
        project: its number.
        fields: what `/api/tasks` is to `include`, "id" among it.
        view: the tab of the data manager whose tasks are read; None for all.
        only: the ids of the tasks to return; None for all.

    Raises LabelStudioError.
    """
    found = {task["id"]: task for task in each_task(client, project, fields, view, only)}
    return [found[number] for number in sorted(found)]


def each_task(
    client: Client,
    project: int,
    fields: Sequence[str],
    view: int | None = None,
    only: Collection[int] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield what `read_tasks` returns, in Label Studio's order, with one page in memory at a time.

    Raises LabelStudioError, at the end where a tab had a task on two pages: another may be on
    none. Label Studio sorts a tab by one column, and with PostgreSQL tasks that are equal in it
    come in another order for each page. Without a tab it sorts by id.
    """
    seen: set[int] = set()
    twice = 0
    for task in _pages(client, project, fields, view):
        if task["id"] in seen:
            twice += 1
            continue
        seen.add(task["id"])
        if only is None or task["id"] in only:
            yield task
    if twice and view is not None:
        raise LabelStudioError(
            f"Label Studio's pages of tab {view} had {twice} of its tasks twice, and may have left "
            "as many out: sort the tab by ID, in which no two tasks are equal, and run this again."
        )


def _pages(
    client: Client, project: int, fields: Sequence[str], view: int | None
) -> Iterator[dict[str, Any]]:
    for number in count(1):
        page = client.ask(
            f"tasks of project {project}", partial(_page, client, project, fields, view, number)
        )
        for task in page:
            yield task.model_dump()
        if not page:
            return


def _page(
    client: Client, project: int, fields: Sequence[str], view: int | None, number: int
) -> Sequence[Any]:
    """The tasks of a page, the first of which is 1; none behind the last one."""
    size = _PAGE if _WITH_REGIONS.isdisjoint(fields) else _PAGE_WITH_REGIONS
    try:
        page = client.sdk.tasks.list(
            project=project, view=view, page=number, page_size=size, fields="all",
            include=",".join(fields), resolve_uri=False, request_options=ONCE,
        )  # fmt: skip
    except ApiError as error:
        if error.status_code == HTTPStatus.NOT_FOUND and number > 1:
            return ()
        raise
    return page.items or ()
