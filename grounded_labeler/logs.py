"""How log lines look: one format for this service and for the server around it."""

import logging
import logging.config
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from grounded_labeler import request_context
from grounded_labeler._text import one_line, shorten
from grounded_labeler.errors import PromptError
from grounded_labeler.settings import Settings

_MAX_LENGTH = 2000  # of a message; most of what is longer is a stranger's

_TEXT = "%(asctime)s [%(process)d] %(levelname)s %(name)s%(request)s: %(message)s"
_JSON_FIELDS = ["asctime", "process", "levelname", "name", "message"]


class OfRequest(logging.Filter):
    """Adds id, project and trace of the request that a line is about, those that there are."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Never drops a record."""
        context = request_context.current()
        if context.request_id is not None:
            record.request_id = context.request_id
        if context.project is not None:
            record.project = context.project
        if context.span is not None:
            record.trace_id = f"{context.span.get_span_context().trace_id:032x}"
        return True


class Prompts(logging.Filter):
    """Shows what people typed, or leaves it out: it may be about whoever is in their images.

    Lines about a task have it as the field `prompt`; errors cite it.
    """

    def __init__(self, *, shown: bool) -> None:
        super().__init__()
        self._shown = shown

    def filter(self, record: logging.LogRecord) -> bool:
        """Never drops a record."""
        prompt = record.__dict__.pop("prompt", None)
        if self._shown:
            if prompt is not None:
                record.msg, record.args = f'{record.getMessage()}; prompt: "{prompt}"', None
                record.prompt = shorten(prompt, _MAX_LENGTH)
        elif isinstance(record.args, tuple):
            record.args = tuple(
                one.without_citation if isinstance(one, PromptError) else one for one in record.args
            )
        return True


class OneLine(logging.Filter):
    """Makes each message one printable line: what strangers send must not look like lines of ours.

    A traceback keeps its lines.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Never drops a record."""
        message = shorten(record.getMessage(), _MAX_LENGTH)
        record.msg, record.args = one_line(message), None
        return True


def _rfc3339(record: logging.LogRecord) -> str:
    """The time of a record as RFC 3339 has it, local, with its offset and milliseconds."""
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


class TextLines(logging.Formatter):
    """Lines for people: time, process, level, logger, the id of the request, the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time of a line."""
        return _rfc3339(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line, without the traceback that may follow it."""
        request_id = getattr(record, "request_id", None)
        return _TEXT % (vars(record) | {"request": f" [{request_id}]" if request_id else ""})


class JsonLines(JsonFormatter):
    """One JSON object a line: what the text has, and what it says in words as fields, too."""

    def __init__(self) -> None:
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        super().__init__(_JSON_FIELDS, style="sequence", rename_fields=names)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time of a line."""
        return _rfc3339(record)


def last_words(sentence: str, log_format: str) -> str:
    """Return why the service does not start, in the form of a line of the log.

    `log_format` is what LOG_FORMAT has, which nobody may have checked yet.
    """
    if log_format.strip() != "json":
        return sentence
    name, level = "grounded_labeler.server", logging.CRITICAL
    return JsonLines().format(logging.LogRecord(name, level, "", 0, sentence, None, None))


def config(settings: Settings, file: Path | None = None) -> dict[str, Any]:
    """For logging.config.dictConfig: lines on standard error, as text or as JSON objects.

    With `file` the lines go to its end instead.
    """
    where: dict[str, Any] = {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}
    if file is not None:
        where = {"class": "logging.FileHandler", "filename": str(file), "encoding": "utf-8"}
        where["errors"] = "backslashreplace"
    filters = {
        "of request": {"()": OfRequest},
        "prompts": {"()": Prompts, "shown": settings.log_prompts},
        "one line": {"()": OneLine},
    }
    # gunicorn's own logger has no handler of its own and passes everything on.
    gunicorn: dict[str, Any] = {"level": settings.log_level, "handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"text": {"()": TextLines}, "json": {"()": JsonLines}},
        "filters": filters,
        "handlers": {"lines": where | {"formatter": settings.log_format, "filters": list(filters)}},
        "root": {"level": settings.log_level, "handlers": ["lines"]},
        "loggers": {
            "gunicorn.error": gunicorn,
            # The application writes these lines itself, server/observation.py: gunicorn's have
            # the query in them, and go only to a file of their own (--access-logfile).
            "gunicorn.access": gunicorn | {"propagate": False},
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
