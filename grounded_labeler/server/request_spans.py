"""The span of a request, with the attributes that OpenTelemetry has for requests over HTTP.

https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from grounded_labeler import request_context, tracing
from grounded_labeler._text import shorten

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from opentelemetry.trace import Span

_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
_OTHER_METHOD = "_OTHER"
_MAX_PATH_LENGTH = 200


def begin_span(environ: "WSGIEnvironment") -> "Span | None":
    """Return the span of a request, on the trace of its caller; None where there are no traces."""
    return tracing.begin_request(_method(environ), partial(_headers, environ))


def end_span(
    span: "Span | None", environ: "WSGIEnvironment", route: str | None, status: int, nbytes: int
) -> None:
    """End the span of a request, whose context this thread still has.

    Args:
        span: what `begin_span` returned.
        environ: the request.
        route: the rule that its path fits, None if there is none.
        status: of the response.
        nbytes: size of the response's body.
    """
    if span is None:
        return
    method = _method(environ)
    span.update_name(f"{method} {route}" if route else method)
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.response.status_code": status,
        "http.response.body.size": nbytes,
        "url.path": shorten(environ.get("PATH_INFO", ""), _MAX_PATH_LENGTH),
        "url.scheme": environ["wsgi.url_scheme"],
    }
    if method == _OTHER_METHOD:
        attributes["http.request.method_original"] = shorten(environ["REQUEST_METHOD"])
    if route:
        attributes["http.route"] = route
    span.set_attributes(attributes)
    context = request_context.current()
    tracing.note(request_id=context.request_id, project=context.project)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        tracing.note_fault(str(status))
    span.end()


def _headers(environ: "WSGIEnvironment") -> dict[str, str]:
    return {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }


def _method(environ: "WSGIEnvironment") -> str:
    method: str = environ["REQUEST_METHOD"]
    return method if method in _METHODS else _OTHER_METHOD
