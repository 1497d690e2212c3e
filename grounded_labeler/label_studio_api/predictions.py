"""Predictions written into a project, each once."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from label_studio_sdk import PredictionRequest

from grounded_labeler.label_studio.prediction_builder import Prediction
from grounded_labeler.label_studio_api.client import ONCE, Client


def add_predictions(
    client: Client, project: int, predictions: Mapping[int, Prediction], version: str
) -> None:
    """Import the predictions of these tasks, which have none of `version`, all or none.

    Sent again, after a failure that passes, is only what Label Studio does not have: it
    may have kept what it did not answer for.
    """
    asked = dict(predictions)

    def send() -> None:
        client.sdk.projects.import_predictions(
            id=project,
            request=[PredictionRequest(task=i, **_fields(one)) for i, one in asked.items()],
            request_options=ONCE,
        )

    def send_what_is_missing() -> None:
        for task in [task for task in asked if _numbers(client, task, version)]:
            del asked[task]
        if asked:
            send()

    if asked:
        client.ask(f"predictions of project {project}", send, send_what_is_missing)


def replace_predictions(
    client: Client, project: int, predictions: Mapping[int, Prediction], version: str
) -> None:
    """Put the predictions of these tasks in the place of those of `version`, if there are."""
    new: dict[int, Prediction] = {}
    for task, one in predictions.items():
        numbers = client.ask(
            f"predictions of task {task}", partial(_numbers, client, task, version)
        )
        if not numbers:
            new[task] = one
        for number in numbers:
            client.ask(
                f"predictions of project {project}",
                partial(
                    client.sdk.predictions.update, number, **_fields(one), request_options=ONCE
                ),
            )
    add_predictions(client, project, new, version)


def _numbers(client: Client, task: int, version: str) -> list[int]:
    """The predictions of `version` that a task has."""
    found = client.sdk.predictions.list(task=task, request_options=ONCE)
    return [one.id for one in found if one.model_version == version]


def _fields(prediction: Prediction) -> Mapping[str, Any]:
    return {name: prediction[name] for name in ("result", "score", "model_version")}
