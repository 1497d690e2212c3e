"""A project of a real Label Studio: its tasks, and the predictions that it keeps."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from http import HTTPStatus
from itertools import count
from typing import Any, TypeVar

import httpx
from label_studio_sdk import LabelStudio, PredictionRequest
from label_studio_sdk.core import ApiError
from label_studio_sdk.core.request_options import RequestOptions
from tenacity import (
    Retrying,
    before_sleep_log,
    retry_if_exception,
    stop_after_delay,
    wait_exponential_jitter,
)

from grounded_labeler._text import shorten
from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.label_studio.prediction_builder import Prediction
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.prompts.history import project_key

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# Requests are sent again by us: the SDK would do it in silence, and for a minute to an address
# where nothing listens.
_ONCE = RequestOptions(max_retries=0)
_TIMEOUT = httpx.Timeout(120.0, connect=10.0)
_FIRST_WAIT_S, _LONGEST_WAIT_S, _PATIENCE_S = 0.5, 30.0, 300.0
_PAGE = 500
_PASSING = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)
_VERSIONS = "predictions_model_versions"  # the data manager's column


class LabelStudioError(GroundedLabelerError):
    """Label Studio did not do what it was asked; the message says what it said."""


class Project:
    """A project, by its number, over the API of the Label Studio at `url`.

    What Label Studio has no time for (429), fails at (5xx) or breaks off is sent again, ever
    later. A connection that is refused is not waited for, and neither is the first answer.
    """

    def __init__(self, url: str, token: str, number: int) -> None:
        """Raises LabelStudioError for a token that is no longer valid; nothing is asked yet."""
        self.number = number
        self.url = url.rstrip("/")
        http = httpx.Client(timeout=_TIMEOUT, follow_redirects=True)
        with self._asked("token"):
            client: Any = LabelStudio(  # type: ignore[no-untyped-call]
                base_url=f"{self.url}/",  # where the SDK refreshes tokens, too
                api_key=token,
                httpx_client=http,
            )
        self._client = client

    def label_config(self) -> str:
        """Its labeling interface, which is asked for once and first.

        Raises LabelStudioError, as all of these do.
        """
        return str(self._about.label_config or "")

    def created(self) -> str:
        """When it was made: another Label Studio has another project of this number."""
        return str(self._about.created_at or "")

    def key(self) -> str:
        """Its number and when it was made, as Label Studio's requests to the service name it."""
        return project_key(self.number, self._about.created_at)

    @cached_property
    def _about(self) -> Any:  # noqa: ANN401 - the SDK's
        with self._asked(f"project {self.number}"):
            return self._client.projects.get(id=self.number, request_options=_ONCE)

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
        for number in count(1):
            page = self._ask(f"tasks of project {self.number}", partial(self._page, view, number))
            for task in page:
                yield task.model_dump()
            if not page:
                return

    def _page(self, view: int | None, number: int) -> Sequence[Any]:
        """The tasks of a page, the first of which is 1; none behind the last one."""
        try:
            page = self._client.tasks.list(
                project=self.number, view=view, page=number, page_size=_PAGE, fields="all",
                include=f"id,data,{_VERSIONS}", resolve_uri=False, request_options=_ONCE,
            )  # fmt: skip
        except ApiError as error:
            if error.status_code == HTTPStatus.NOT_FOUND and number > 1:
                return ()
            raise
        return page.items or ()

    def add(self, predictions: Mapping[int, Prediction], version: str) -> None:
        """Import the predictions of these tasks, which have none of `version`, all or none.

        Sent again, after a failure that passes, is only what Label Studio does not have: it
        may have kept what it did not answer for.
        """
        asked = dict(predictions)

        def send() -> None:
            self._client.projects.import_predictions(
                id=self.number,
                request=[PredictionRequest(task=i, **_fields(one)) for i, one in asked.items()],
                request_options=_ONCE,
            )

        def send_what_is_missing() -> None:
            for task in [task for task in asked if self._numbers(task, version)]:
                del asked[task]
            if asked:
                send()

        if asked:
            self._ask(f"predictions of project {self.number}", send, send_what_is_missing)

    def replace(self, predictions: Mapping[int, Prediction], version: str) -> None:
        """Put the predictions of these tasks in the place of those of `version`, if there are."""
        new: dict[int, Prediction] = {}
        for task, one in predictions.items():
            numbers = self._ask(
                f"predictions of task {task}", partial(self._numbers, task, version)
            )
            if not numbers:
                new[task] = one
            for number in numbers:
                self._change(number, one)
        self.add(new, version)

    def _change(self, number: int, prediction: Prediction) -> None:
        def send() -> None:
            self._client.predictions.update(number, **_fields(prediction), request_options=_ONCE)

        self._ask(f"predictions of project {self.number}", send)

    def _numbers(self, task: int, version: str) -> list[int]:
        """The predictions of `version` that a task has."""
        found = self._client.predictions.list(task=task, request_options=_ONCE)
        return [one.id for one in found if one.model_version == version]

    def _ask(
        self, what: str, send: Callable[[], Answer], send_again: Callable[[], Answer] | None = None
    ) -> Answer:
        """What `send` returns, or `send_again` after ever longer waits, while failures may pass."""
        attempts = Retrying(
            retry=retry_if_exception(_may_pass),
            wait=wait_exponential_jitter(_FIRST_WAIT_S, _LONGEST_WAIT_S),
            stop=stop_after_delay(_PATIENCE_S),
            before_sleep=before_sleep_log(logger, logging.WARNING),
            reraise=True,
        )
        with self._asked(what):
            for attempt in attempts:
                with attempt:
                    answer = send()
                send = send_again or send
        return answer

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        try:
            yield
        except ApiError as error:
            if error.status_code == HTTPStatus.OK:  # and no JSON
                raise self._is_another() from error
            said = shorten(str(error.body), 300)
            raise LabelStudioError(
                f"Label Studio refused the {what}: {error.status_code} {said}"
            ) from error
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise LabelStudioError(
                f"Label Studio at {self.url} does not answer: {said}. "
                "Check that it runs there, and LABEL_STUDIO_URL."
            ) from error
        except ValueError as error:  # the SDK's, of what it cannot read
            raise self._is_another() from error

    def _is_another(self) -> LabelStudioError:
        return LabelStudioError(
            f"What answers at {self.url} is no Label Studio: check LABEL_STUDIO_URL."
        )


def _fields(prediction: Prediction) -> Mapping[str, Any]:
    return {name: prediction[name] for name in ("result", "score", "model_version")}


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        status = error.status_code or 0
        return status in (408, 429) or status >= 500
    return isinstance(error, _PASSING) and not isinstance(error, httpx.ConnectError)


def _split(versions: object) -> list[str]:
    """The data manager gives them as one text."""
    if isinstance(versions, str):
        return [version.strip() for version in versions.split(",")]
    return [str(version) for version in versions] if isinstance(versions, list) else []
