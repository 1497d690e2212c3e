"""The tabs of a project's data manager."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from grounded_labeler.label_studio_api.client import ONCE, Client

# As Label Studio's own new tabs, but with the score.
_HIDDEN = (
    "inner_id", "annotations_results", "predictions_model_versions", "predictions_results",
    "file_upload", "storage_filename", "created_at", "updated_at", "updated_by", "avg_lead_time",
    "draft_exists",
)  # fmt: skip
_HIDDEN_WHILE_LABELING = (
    "id", "completed_at", "cancelled_annotations", "total_predictions", "annotators",
    "annotations_ids", "predictions_score",
)  # fmt: skip
_NEW = {
    "type": "list",
    "target": "tasks",
    "hiddenColumns": {
        "explore": [f"tasks:{name}" for name in (*_HIDDEN, "annotations_ids")],
        "labeling": [f"tasks:{name}" for name in (*_HIDDEN, *_HIDDEN_WHILE_LABELING)],
    },
}


Filters = dict[str, Any]


def of_tasks(tasks: Collection[int]) -> Filters:
    """Filters that show these tasks alone.

    One for each: with an operator that its pages do not offer, such as `in_list`, the data
    manager of the whole project never ends loading.
    """
    return {"conjunction": "or", "items": [_filter("id", task) for task in sorted(tasks)]}


def unannotated() -> Filters:
    """Filters that show the tasks that have no annotation."""
    return {"conjunction": "and", "items": [_filter("total_annotations", 0)]}


def _filter(column: str, value: int) -> Filters:
    name = f"filter:tasks:{column}"
    return {"filter": name, "operator": "equal", "type": "Number", "value": value}


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
        filters: as `of_tasks` and `unannotated` make them; None leaves those that somebody chose.

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
