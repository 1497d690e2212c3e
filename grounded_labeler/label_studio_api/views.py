"""The tabs of a project's data manager."""

from collections.abc import Sequence
from functools import partial

from grounded_labeler.label_studio_api.client import ONCE, Client

_NEW = {"type": "list", "target": "tasks"}


def save_view(client: Client, project: int, title: str, ordering: Sequence[str]) -> int:
    """Make a tab, or change the one of this title; return its number.

    Args:
        client: the Label Studio.
        project: the number of the project.
        title: what the tab is called.
        ordering: columns as the data manager names them, `tasks:predictions_score`, with a "-"
            before one to begin with the largest. Filters and columns that somebody chose stay.

    Raises LabelStudioError.
    """
    what, views = f"tab of project {project}", client.sdk.views
    there = client.ask(what, partial(views.list, project=project, request_options=ONCE))
    own = next((one for one in there if (one.data or {}).get("title") == title), None)
    kept = _NEW if own is None else own.data
    change = {
        "project": project,
        "data": {**kept, "title": title, "ordering": list(ordering)},
        "request_options": ONCE,
    }
    if own is None:
        return int(client.ask(what, partial(views.create, **change)).id)
    return int(client.ask(what, partial(views.update, str(own.id), **change)).id)
