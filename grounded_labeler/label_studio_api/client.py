"""Requests to the API of a Label Studio, sent again while what stops them may pass."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, TypeVar

import httpx
from label_studio_sdk import LabelStudio
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

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# Requests are sent again by us: the SDK would do it in silence, and for a minute to an address
# where nothing listens.
ONCE = RequestOptions(max_retries=0)
_TIMEOUT = httpx.Timeout(120.0, connect=10.0)
_FIRST_WAIT_S, _LONGEST_WAIT_S, _PATIENCE_S = 0.5, 30.0, 300.0
_NO_SENTENCES = ("id", "status_code", "version", "exc_info", "display_context")
_PASSING = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)


class LabelStudioError(GroundedLabelerError):
    """Label Studio did not do what it was asked; the message says what it said.

    Attributes:
        answered: the HTTP status that it answered with; None where it did not answer.
        said: the sentences in its answer, without what surrounds them.
    """

    def __init__(self, message: str, answered: int | None = None, said: str = "") -> None:
        """`said` is for who knows the sentences of Label Studio."""
        super().__init__(message)
        self.answered, self.said = answered, said


class Client:
    """The API of the Label Studio at `url`; `sdk` is what its own SDK makes of it.

    What Label Studio has no time for (429), fails at (5xx) or breaks off is sent again, ever
    later. A connection that is refused is not waited for, and neither is the first answer.
    """

    def __init__(self, url: str, token: str, timeout: httpx.Timeout = _TIMEOUT) -> None:
        """Raises LabelStudioError for a token that is no longer valid; nothing is asked yet."""
        self.url = url.rstrip("/")
        http = httpx.Client(timeout=timeout, follow_redirects=True)
        with self.asked("token"):
            self.sdk: Any = LabelStudio(  # type: ignore[no-untyped-call]
                base_url=f"{self.url}/",  # where the SDK refreshes tokens, too
                api_key=token,
                httpx_client=http,
            )

    def ask(
        self, what: str, send: Callable[[], Answer], send_again: Callable[[], Answer] | None = None
    ) -> Answer:
        """What `send` returns, or `send_again` after ever longer waits, while failures may pass.

        Raises LabelStudioError, in which `what` names what was asked for.
        """
        attempts = Retrying(
            retry=retry_if_exception(_may_pass),
            wait=wait_exponential_jitter(_FIRST_WAIT_S, _LONGEST_WAIT_S),
            stop=stop_after_delay(_PATIENCE_S),
            before_sleep=before_sleep_log(logger, logging.WARNING),
            reraise=True,
        )
        with self.asked(what):
            for attempt in attempts:
                with attempt:
                    answer = send()
                send = send_again or send
        return answer

    def call(self, method: str, path: str, body: object = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        """What a route answers that the SDK does not have, or not with all fields; sent once.

        Raises LabelStudioError.
        """
        with self.asked(f"request for {path}"):
            # The SDK (2.1.2) has no public request for other routes. This is the client that it
            # exchanged the personal access token for: a SyncClientWrapper of our own would have
            # Label Studio exchange it once more.
            response = self.sdk._client_wrapper.httpx_client.request(
                path, method=method, params=query, json=body, request_options=ONCE
            )
            if response.is_success:
                return response.json()
            try:
                answer = response.json()
            except ValueError:
                answer = response.text
            raise ApiError(status_code=response.status_code, body=answer)

    @contextmanager
    def asked(self, what: str) -> Iterator[None]:
        """Make LabelStudioErrors of what goes wrong inside, where nothing is sent again."""
        try:
            yield
        except ApiError as error:
            if error.status_code == HTTPStatus.OK:  # and no JSON
                raise self._is_another() from error
            said = shorten(str(error.body), 300)
            raise LabelStudioError(
                f"Label Studio refused the {what}: {error.status_code} {said}",
                error.status_code,
                " ".join(_sentences(error.body)),
            ) from error
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            if isinstance(error, httpx.LocalProtocolError):  # what it says repeats the token
                said = "the token has characters that no token has"
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


def _sentences(body: object) -> Iterator[str]:
    """The texts in an answer of Label Studio's: those of a validation lie deep in it."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, Mapping):
        for name, value in body.items():
            if name not in _NO_SENTENCES:
                yield from _sentences(value)
    elif isinstance(body, list):
        for value in body:
            yield from _sentences(value)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        status = error.status_code or 0
        return status in (408, 429) or status >= 500
    return isinstance(error, _PASSING) and not isinstance(error, httpx.ConnectError)
