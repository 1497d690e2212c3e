"""How every error is answered: one sentence as JSON, and as the reason phrase."""

import logging
from http import HTTPStatus

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from grounded_labeler import metrics, tracing
from grounded_labeler.errors import GroundedLabelerError, NotReady, TooLarge, Unauthorized
from grounded_labeler.server.monitoring import OPEN_PATHS
from grounded_labeler.server.refusals import REFUSAL
from grounded_labeler.server.responses import Error

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 10
_MAX_REASON_LENGTH = 300


def answer_errors(app: Flask) -> None:
    """Have `app` answer the errors that its routes raise, note and count them."""

    @app.errorhandler(GroundedLabelerError)
    def known_error(error: GroundedLabelerError) -> Response:
        # Probes ask every few seconds how things are.
        if request.path not in OPEN_PATHS or REFUSAL in request.environ:
            logger.warning("%s %s: %s", request.method, request.path, error)
            metrics.FAILURES.labels(error.cause).inc()
        tracing.note_error(error, is_fault=error.status >= HTTPStatus.INTERNAL_SERVER_ERROR)
        answer = jsonify(Error(error=str(error)))
        answer.status = f"{error.status} {_one_line(str(error))}"
        if isinstance(error, NotReady):
            answer.headers["Retry-After"] = str(_RETRY_SECONDS)
        if isinstance(error, Unauthorized):
            answer.headers["WWW-Authenticate"] = 'Basic realm="grounded-labeler"'
        return answer

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> Response:
        return known_error(TooLarge())

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        answer = jsonify(Error(error=error.description or error.name))
        answer.status_code = error.code or 500
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            answer.headers["Allow"] = ", ".join(error.valid_methods)
        return answer


def _one_line(message: str) -> str:
    """`message` as an HTTP reason phrase: of an error, Label Studio shows nothing else."""
    words = message.encode("ascii", "replace").decode().split()
    printable = "".join(char for char in " ".join(words) if char.isprintable())
    return printable[:_MAX_REASON_LENGTH]
