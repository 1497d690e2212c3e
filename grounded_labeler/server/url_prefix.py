"""Serves an application under a path, behind a proxy that passes the path on or removes it."""

from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]  # WSGI's


class UnderPrefix:
    """A WSGI application at `prefix`, "/labeler", and at the root, too.

    To the application the two are one: its own paths have no prefix, its links have it.
    """

    def __init__(self, app: Application, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:  # noqa: ANN401 - WSGI's
        """Serve one request."""
        path, prefix = environ.get("PATH_INFO", ""), self._prefix
        if path == prefix or path.startswith(f"{prefix}/"):
            environ["PATH_INFO"] = path[len(prefix) :] or "/"
        environ["SCRIPT_NAME"] = prefix
        return self._app(environ, start)
