"""A WSGI application that answers with what the server believes of the caller."""

import json
from collections.abc import Callable, Iterable
from typing import Any


def app(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([environ["wsgi.url_scheme"], environ["REMOTE_ADDR"]]).encode()]
