"""How log lines look: one format for this service and for gunicorn around it."""

import logging
import logging.config
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grounded_labeler._text import shorten
from grounded_labeler.settings import Settings

_MAX_LENGTH = 2000  # of a message; most of what is longer is a stranger's

_PROBES = {"/health", "/ready", "/metrics"}

_TEXT = "%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s"
_JSON_FIELDS = ["asctime", "process", "levelname", "name", "message"]


class OneLine(logging.Filter):
    """Makes each message one printable line: what strangers send must not look like lines of ours.

    A traceback keeps its lines.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Never drops a record."""
        message = shorten(record.getMessage(), _MAX_LENGTH)
        shown = (char if char.isprintable() else repr(char)[1:-1] for char in message)
        record.msg, record.args = "".join(shown), None
        return True


class NoProbes(logging.Filter):
    """Leaves out that somebody asked how the service is, and it was well: that is every moment.

    Nor are probes worth a line that wait for the models to be loaded.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Drops such a record of gunicorn's, whose args are the parts of its line by letter."""
        parts = record.args
        if not isinstance(parts, Mapping):
            return True
        path, status = parts.get("U"), parts.get("s")
        return not ((path in _PROBES and status == "200") or (path, status) == ("/ready", "503"))


def config(settings: Settings, file: Path | None = None) -> dict[str, Any]:
    """For logging.config.dictConfig: lines on standard error, as text or as JSON objects.

    In JSON, what a line says in words about a task is there as fields, too. With `file` the
    lines go to its end instead.
    """
    formatters = {
        "text": {"format": _TEXT},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": _JSON_FIELDS,
            "style": "sequence",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
        },
    }
    where: dict[str, Any] = {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}
    if file is not None:
        where = {"class": "logging.FileHandler", "filename": str(file), "encoding": "utf-8"}
        where["errors"] = "backslashreplace"
    handler = where | {"formatter": settings.log_format, "filters": ["one line"]}
    # gunicorn's own loggers have no handler of theirs and pass everything on.
    gunicorn: dict[str, Any] = {"level": settings.log_level, "handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": formatters,
        "filters": {"one line": {"()": OneLine}, "no probes": {"()": NoProbes}},
        "handlers": {"lines": handler},
        "root": {"level": settings.log_level, "handlers": ["lines"]},
        "loggers": {
            "gunicorn.error": gunicorn,
            "gunicorn.access": gunicorn | {"filters": ["no probes"]},
        },
    }


@contextmanager
def written_to(file: Path, settings: Settings) -> Iterator[None]:
    """While open, the log goes to the end of `file`, and with it what packages warn of.

    Raises OSError when the file cannot be written to.
    """
    file.open("a").close()  # dictConfig would make a ValueError of what is wrong with it
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    logging.config.dictConfig(config(settings, file))
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)
