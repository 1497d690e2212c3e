"""The tabs of a project's data manager."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from grounded_labeler.label_studio_api.client import ONCE, Client

_NEW = {"type": "list", "target": "tasks"}


Filters = dict[str, Any]


def task_filters(
    tasks: Collection[int] | None = None, *, unannotated: bool = False
) -> Filters | None:
    """Filters that show these tasks alone, or those without an annotation; None to show all."""
    items: list[Filters] = []
    if tasks is not None:
        items.append(_filter("id", "in_list", sorted(tasks)))
    if unannotated:
        items.append(_filter("total_annotations", "equal", 0))
    return {"conjunction": "and", "items": items} if items else None


def _filter(column: str, operator: str, value: object) -> Filters:
    name = f"filter:tasks:{column}"
    return {"filter": name, "operator": operator, "type": "Number", "value": value}


def save_view(
    client: Client,
    project: int,
    title: str,
    ordering: Sequence[str],
    filters: Filters | None = None,
) -> int:
    """Make a tab, or change the one of this title; return its number.

    Args:
        client: the Label Studio.
        project: the number of the project.
        title: what the tab is called.
        ordering: columns as the data manager names them, `tasks:predictions_score`, with a "-"
            before one to begin with the largest. Columns that somebody chose stay.
        filters: as `task_filters` makes them; None leaves those that somebody chose.

    Raises LabelStudioError.
    """
    what, views = f"tab of project {project}", client.sdk.views
    there = client.ask(what, partial(views.list, project=project, request_options=ONCE))
    own = next((one for one in there if (one.data or {}).get("title") == title), None)
    kept = _NEW if own is None else own.data
    filtered = {} if filters is None else {"filters": filters}
    change = {
        "project": project,
        "data": {**kept, "title": title, "ordering": list(ordering), **filtered},
        "request_options": ONCE,
    }
    if own is None:
        return int(client.ask(what, partial(views.create, **change)).id)
    return int(client.ask(what, partial(views.update, str(own.id), **change)).id)
