"""A project of a real Label Studio: its tasks, and the predictions that it keeps."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from label_studio_sdk import LabelStudio, PredictionRequest
from label_studio_sdk.core import ApiError
from label_studio_sdk.core.request_options import RequestOptions

from grounded_labeler.answers import Prediction
from grounded_labeler.bounded import shorten
from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.looks import Task

# Of what Label Studio has no time for (429) or fails at (5xx), ever later.
_PATIENTLY = RequestOptions(max_retries=6, timeout_in_seconds=120)
_PAGE = 500
_VERSIONS = "predictions_model_versions"  # the data manager's column


class LabelStudioError(GroundedLabelerError):
    """Label Studio did not do what it was asked; the message says what it said."""


class Project:
    """A project, by its number, over the API of the Label Studio at `url`."""

    def __init__(self, url: str, token: str, number: int) -> None:
        self.number = number
        self._url = url.rstrip("/")
        client: Any = LabelStudio(base_url=self._url, api_key=token)  # type: ignore[no-untyped-call]
        self._client = client

    def label_config(self) -> str:
        """Its labeling interface; raises LabelStudioError, as all of these do."""
        with self._asked(f"project {self.number}"):
            project = self._client.projects.get(id=self.number, request_options=_PATIENTLY)
        return str(project.label_config or "")

    def tasks(
        self, version: str, view: int | None = None, only: Collection[int] | None = None
    ) -> tuple[list[Task], int]:
        """The tasks that have no prediction of `version`, by id, and how many have one.

        Of the tab `view` of the data manager, or of all; of those `only`, if given.
        """
        left: list[Task] = []
        done = 0
        for task in self._pages(view):
            if only is not None and task["id"] not in only:
                continue
            if version in _split(task.get(_VERSIONS)):
                done += 1
            else:
                left.append({"id": task["id"], "data": task["data"]})
        return sorted(left, key=lambda task: int(task["id"])), done

    def _pages(self, view: int | None) -> Iterator[dict[str, Any]]:
        with self._asked(f"tasks of project {self.number}"):
            pages = self._client.tasks.list(
                project=self.number, view=view, page_size=_PAGE, fields="all",
                include=f"id,data,{_VERSIONS}", resolve_uri=False, request_options=_PATIENTLY,
            )  # fmt: skip
            for task in pages:
                yield task.model_dump()

    def add(self, predictions: Mapping[int | str, Prediction]) -> None:
        """Import the predictions of these tasks, all or none; those without a result are not."""
        request = [
            PredictionRequest(
                task=int(task),
                result=one["result"],
                score=one["score"],
                model_version=one["model_version"],
            )
            for task, one in predictions.items()
            if "result" in one
        ]
        if request:
            with self._asked(f"predictions of project {self.number}"):
                self._client.projects.import_predictions(
                    id=self.number, request=request, request_options=_PATIENTLY
                )

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        try:
            yield
        except ApiError as error:
            said = shorten(str(error.body), 300)
            raise LabelStudioError(
                f"Label Studio refused the {what}: {error.status_code} {said}"
            ) from error
        except httpx.HTTPError as error:
            raise LabelStudioError(
                f"Label Studio at {self._url} does not answer: {error}"
            ) from error


def _split(versions: object) -> list[str]:
    """The data manager gives them as one text."""
    if isinstance(versions, str):
        return [version.strip() for version in versions.split(",")]
    return [str(version) for version in versions] if isinstance(versions, list) else []
