"""How log lines look: one format for this service and for gunicorn around it."""

from typing import Any

from grounded_labeler.settings import Settings

_TEXT = "%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s"
_JSON_FIELDS = ["asctime", "process", "levelname", "name", "message"]


def config(settings: Settings) -> dict[str, Any]:
    """For logging.config.dictConfig: lines on standard error, as text or as JSON objects.

    In JSON, what a line says in words about a task is there as fields, too.
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
    handler = {
        "class": "logging.StreamHandler",
        "stream": "ext://sys.stderr",
        "formatter": settings.log_format,
    }
    # gunicorn's own loggers have no handler of theirs and pass everything on.
    gunicorn: dict[str, Any] = {"level": settings.log_level, "handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": formatters,
        "handlers": {"stderr": handler},
        "root": {"level": settings.log_level, "handlers": ["stderr"]},
        "loggers": {"gunicorn.error": gunicorn, "gunicorn.access": gunicorn},
    }
