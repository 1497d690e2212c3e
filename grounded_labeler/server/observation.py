"""What is seen of every request: its id, its line in the log, its figures."""

import logging
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import uuid4

from flask import Flask, request

from grounded_labeler import metrics, request_context
from grounded_labeler._text import shorten
from grounded_labeler.models.runtime.device import resident_bytes
from grounded_labeler.request_context import RequestContext
from grounded_labeler.server.refusals import REFUSAL
from grounded_labeler.server.request_spans import begin_span, end_span

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_Headers = list[tuple[str, str]]

logger = logging.getLogger(__name__)

ID_HEADER = "X-Request-ID"
# What may stand in a line of the log as it is, and is no longer than ids are.
_SANE_ID = re.compile(r"[A-Za-z0-9._~:+/=@-]{1,128}")
_ROUTE = "grounded_labeler.route"  # in the WSGI environment
_OTHER = "other"  # the route of what is none
_MAX_PATH_LENGTH = 200

# Somebody asks these every few seconds, and it is no news that all is well.
_PROBES = {"/health", "/ready", "/metrics"}


def observe_requests(app: Flask) -> None:
    """Have every request to `app` get an id, a line in the log, and be counted and timed.

    Call this before other functions are registered that may refuse requests.
    """

    @app.before_request
    def note_route() -> None:
        if request.url_rule is not None:
            request.environ[_ROUTE] = request.url_rule.rule
        if (refusal := request.environ.get(REFUSAL)) is not None:
            raise refusal

    app.wsgi_app = _Observed(app.wsgi_app)  # type: ignore[method-assign]


class _Observed:
    """A WSGI application around another one whose responses are complete when it returns.

    Around Flask, and not in it, so that the id is there from the first line to the last, and
    under any server.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        request_id = _id_of(environ.get("HTTP_X_REQUEST_ID", ""))
        status, nbytes, start, span = "", 0, time.perf_counter(), begin_span(environ)

        def start_with_id(line: str, headers: _Headers, *error: "OptExcInfo | None") -> object:
            nonlocal status, nbytes
            status = line.partition(" ")[0]
            nbytes = sum(int(value) for name, value in headers if name == "Content-Length")
            return start_response(line, [*headers, (ID_HEADER, request_id)], *error)

        with (
            request_context.entered(RequestContext(request_id, span=span)),
            metrics.IN_FLIGHT.track_inprogress(),
        ):
            body = self._app(environ, start_with_id)  # type: ignore[arg-type]
            seconds = time.perf_counter() - start
            nbytes = 0 if environ["REQUEST_METHOD"] == "HEAD" else nbytes
            _count(environ, status, seconds)
            if _is_news(environ, status):
                _log(environ, status, seconds, nbytes)
                end_span(span, environ, environ.get(_ROUTE), int(status), nbytes)
        return body


def _id_of(given: str) -> str:
    """The caller's id of a request, or a new one where that is none to write into the log."""
    return given if _SANE_ID.fullmatch(given) else uuid4().hex


def _count(environ: "WSGIEnvironment", status: str, seconds: float) -> None:
    route = environ.get(_ROUTE, _OTHER)
    metrics.REQUESTS.labels(route, status).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(seconds)
    metrics.RESIDENT.set(resident_bytes())


def _is_news(environ: "WSGIEnvironment", status: str) -> bool:
    """Whether it is more than a probe that finds what it mostly does."""
    route = environ.get(_ROUTE)
    return not ((route in _PROBES and status == "200") or (route, status) == ("/ready", "503"))


def _log(environ: "WSGIEnvironment", status: str, seconds: float, nbytes: int) -> None:
    route = environ.get(_ROUTE, _OTHER)
    facts: dict[str, str | int] = {
        "method": environ["REQUEST_METHOD"],
        "route": route,
        "status": int(status),
        "ms": round(seconds * 1000),
        "bytes": nbytes,
    }
    if route == _OTHER:  # whoever asks for it may have the wrong address; never the query
        facts["path"] = shorten(environ.get("PATH_INFO", ""), _MAX_PATH_LENGTH)
    shown = facts.get("path", route)
    logger.info(
        "%s %s: %s in %s ms, %s bytes",
        facts["method"], shown, facts["status"], facts["ms"], facts["bytes"],
        extra=facts,
    )  # fmt: skip
