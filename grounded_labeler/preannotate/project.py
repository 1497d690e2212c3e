"""A project of a real Label Studio: its tasks, and the predictions that it keeps."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import httpx
from label_studio_sdk import LabelStudio, PredictionRequest
from label_studio_sdk.core import ApiError
from label_studio_sdk.core.request_options import RequestOptions
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from grounded_labeler.answers import Prediction
from grounded_labeler.bounded import shorten
from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.looks import Task
from grounded_labeler.memory import project_key
from grounded_labeler.preannotate.run import Predictions, TaskId

# Of what Label Studio has no time for (429) or fails at (5xx), ever later.
_PATIENTLY = RequestOptions(max_retries=6, timeout_in_seconds=120)
# What is written is sent again by us, who look first whether it has been done.
_ONCE = RequestOptions(max_retries=0, timeout_in_seconds=120)
_FIRST_WAIT_S, _LONGEST_WAIT_S, _PATIENCE_S = 0.5, 30.0, 300.0
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
        return str(self._about.label_config or "")

    def key(self) -> str:
        """Its number and when it was made, as Label Studio's requests to the service name it."""
        return project_key(self.number, self._about.created_at)

    @cached_property
    def _about(self) -> Any:  # noqa: ANN401 - the SDK's
        with self._asked(f"project {self.number}"):
            return self._client.projects.get(id=self.number, request_options=_PATIENTLY)

    def tasks(
        self, version: str, view: int | None = None, only: Collection[int] | None = None
    ) -> tuple[list[Task], list[Task]]:
        """The tasks that have no prediction of `version`, and those that have one, by id.

        Of the tab `view` of the data manager, or of all; of those `only`, if given.
        """
        left: list[Task] = []
        done: list[Task] = []
        for task in sorted(self._pages(view), key=lambda task: int(task["id"])):
            if only is None or task["id"] in only:
                having = done if version in _split(task.get(_VERSIONS)) else left
                having.append({"id": task["id"], "data": task["data"]})
        return left, done

    def _pages(self, view: int | None) -> Iterator[dict[str, Any]]:
        with self._asked(f"tasks of project {self.number}"):
            pages = self._client.tasks.list(
                project=self.number, view=view, page_size=_PAGE, fields="all",
                include=f"id,data,{_VERSIONS}", resolve_uri=False, request_options=_PATIENTLY,
            )  # fmt: skip
            for task in pages:
                yield task.model_dump()

    def add(self, predictions: Predictions, version: str) -> None:
        """Import the predictions of these tasks, which have none of `version`, all or none.

        Those without a result are not. Sent again, after a failure that passes, is only
        what Label Studio does not have: it may have kept what it did not answer for.
        """
        asked = {int(task): one for task, one in predictions.items() if "result" in one}

        def send() -> None:
            self._client.projects.import_predictions(
                id=self.number,
                request=[PredictionRequest(task=i, **_fields(one)) for i, one in asked.items()],
                request_options=_ONCE,
            )

        def send_what_is_missing() -> None:
            for task in [task for task in asked if self._numbers(task, version, _ONCE)]:
                del asked[task]
            if asked:
                send()

        if asked:
            self._write(send, send_what_is_missing)

    def replace(self, predictions: Predictions, version: str) -> None:
        """Put the predictions of these tasks in the place of those of `version`, if they have one.

        Those without a result are left as they are.
        """
        new: dict[TaskId, Prediction] = {}
        for task, one in predictions.items():
            if "result" not in one:
                continue
            with self._asked(f"predictions of task {task}"):
                numbers = self._numbers(int(task), version, _PATIENTLY)
            if not numbers:
                new[task] = one
            for number in numbers:
                self._change(number, one)
        self.add(new, version)

    def _change(self, number: int, prediction: Prediction) -> None:
        def send() -> None:
            self._client.predictions.update(number, **_fields(prediction), request_options=_ONCE)

        self._write(send, send)

    def _numbers(self, task: int, version: str, options: RequestOptions) -> list[int]:
        """The predictions of `version` that a task has."""
        found = self._client.predictions.list(task=task, request_options=options)
        return [one.id for one in found if one.model_version == version]

    def _write(self, send: Callable[[], None], send_again: Callable[[], None]) -> None:
        """`send`, then `send_again` after ever longer waits, while what fails may pass."""
        with self._asked(f"predictions of project {self.number}"):
            attempts = Retrying(
                retry=retry_if_exception(_may_pass),
                wait=wait_exponential_jitter(_FIRST_WAIT_S, _LONGEST_WAIT_S),
                stop=stop_after_delay(_PATIENCE_S),
                reraise=True,
            )
            for attempt in attempts:
                with attempt:
                    (send if attempt.retry_state.attempt_number == 1 else send_again)()

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


def _fields(prediction: Prediction) -> Mapping[str, Any]:
    return {name: prediction[name] for name in ("result", "score", "model_version")}


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        status = error.status_code or 0
        return status in (408, 429) or status >= 500
    return isinstance(error, httpx.TransportError)


def _split(versions: object) -> list[str]:
    """The data manager gives them as one text."""
    if isinstance(versions, str):
        return [version.strip() for version in versions.split(",")]
    return [str(version) for version in versions] if isinstance(versions, list) else []
