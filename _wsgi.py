"""The file that Label Studio's convention wants: `gunicorn _wsgi:app`."""

from grounded_labeler.server.wsgi import app

__all__ = ["app"]
