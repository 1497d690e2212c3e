"""Answers to requests that are not complete, or that gunicorn's parser cannot read.

The application writes these, too, so that they look like its other answers: it is called with
what is known of such a request, and raises the error that stands in the environment as REFUSAL.
"""

import io
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from gunicorn.http.errors import (
    ExpectationFailed,
    ForbiddenProxyRequest,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.http.wsgi import Response, base_environ

from grounded_labeler.errors import BadRequest, GroundedLabelerError, Refused, TooLarge
from grounded_labeler.server.received import MAX_HEAD_BYTES

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

REFUSAL = "grounded_labeler.refusal"  # in the WSGI environment
UNKNOWN = "-"  # the method and the path of a request whose first line did not arrive

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) ([!-~]+)(?: [!-~]+)?")
_ID = b"x-request-id"
# Of what the parser cannot read, without what the client sent, which may be secret.
_STATUSES: Mapping[type[ParseException], HTTPStatus] = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    ForbiddenProxyRequest: HTTPStatus.FORBIDDEN,
    UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
}
_SENTENCES = {
    HTTPStatus.REQUEST_URI_TOO_LONG: "The request line is too long.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        f"The request's headers take more than {MAX_HEAD_BYTES} bytes, or one of them takes more"
        " than 8,190, or there are more than 100."
    ),
    HTTPStatus.EXPECTATION_FAILED: "The header Expect may say 100-continue and nothing else.",
    HTTPStatus.FORBIDDEN: "This proxy may not say who the client is.",
    HTTPStatus.NOT_IMPLEMENTED: "A request's only transfer coding may be chunked.",
}


def refusal_for(fault: HTTPStatus) -> GroundedLabelerError:
    """Return the error that a request with `fault` is refused with."""
    match fault:
        case HTTPStatus.BAD_REQUEST:
            return BadRequest("The request does not say where it ends: see RFC 9112, section 6.3.")
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return TooLarge()
        case _:
            return Refused(fault, _SENTENCES[fault])


def refusal_after(error: ParseException | NoMoreData) -> GroundedLabelerError:
    """Return the error that a request is refused with which gunicorn's parser cannot read."""
    for kind, fault in _STATUSES.items():
        if isinstance(error, kind):
            return refusal_for(fault)
    return BadRequest(f"The request cannot be read as HTTP/1.1 ({type(error).__name__}).")


def answer(
    app: "WSGIApplication",
    sock: socket.socket,
    cfg: Any,  # noqa: ANN401 - gunicorn's
    head: bytes,
    error: GroundedLabelerError,
) -> None:
    """Have `app` answer a request with `error`, as far as `sock` takes that without waiting.

    Args:
        app: the WSGI application.
        sock: the client's; what it does not take is lost.
        cfg: gunicorn's settings.
        head: what has arrived of the request line and the headers.
        error: why there is no other answer.
    """
    environ = _environ(cfg, head, error)
    request = SimpleNamespace(
        method=environ["REQUEST_METHOD"], version=(1, 1), should_close=lambda: True
    )
    response = Response(request, sock, cfg)
    pieces = app(environ, response.start_response)
    with suppress(OSError):
        for piece in pieces:
            response.write(piece)
        response.close()


class ReadBody:
    """The body of a request for the application, which refuses the request if it is no body."""

    def __init__(self, request: Any) -> None:  # noqa: ANN401 - gunicorn's
        self._request, self._reader = request, request.body.reader

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; b"" at the end."""
        try:
            return bytes(self._reader.read(size))
        except ParseException as error:
            self._request.force_close()  # nobody knows where the next request begins
            raise refusal_after(error) from None


def _environ(
    cfg: Any,  # noqa: ANN401 - gunicorn's
    head: bytes,
    error: GroundedLabelerError,
) -> "WSGIEnvironment":
    """What the application needs to know to write a line about a request and to count it."""
    *lines, _ = head.split(b"\r\n")  # the last one is not complete
    lines = [line for line in lines if line and not line.startswith(b"PROXY ")]
    method = path = UNKNOWN
    if lines and (found := _REQUEST_LINE.fullmatch(lines[0])):
        method, path = found[1].decode(), _path_of(found[2])
    environ: WSGIEnvironment = base_environ(cfg) | {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "",
        "SERVER_PORT": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        REFUSAL: error,
    }
    for name, _, value in (line.partition(b":") for line in lines[1:]):
        if name.lower() == _ID:
            environ["HTTP_X_REQUEST_ID"] = value.strip().decode("latin-1")
    return environ


def _path_of(target: bytes) -> str:
    """The path that a request line asks for, as WSGI has it."""
    with suppress(ValueError):  # "http://[" is no address
        path = unquote_to_bytes(urlsplit(target).path).decode("latin-1")
        if path.startswith("/"):
            return path
    return UNKNOWN
