"""The body of the request at hand, read and checked."""

from flask import request

from grounded_labeler.errors import BadRequest
from grounded_labeler.server.requests import Body, read_request


def read_body(model: type[Body], **limits: int) -> Body:
    """Read the body of the request at hand, as `read_request` does."""
    try:
        # Not kept with the request: a body may be as large as all that is made of it.
        body = request.get_json(force=True, silent=True, cache=False)
        return read_request(model, body, **limits)
    except RecursionError:
        raise BadRequest("The request body is nested too deeply.") from None
