"""The one place where things are put together; served as `gunicorn _wsgi:app`."""

import logging.config
import os

from grounded_labeler import logs
from grounded_labeler.server.app import create_app
from grounded_labeler.service import start_service
from grounded_labeler.settings import Settings
from model import GroundedLabeler

settings = Settings.from_env(os.environ)
logging.config.dictConfig(logs.config(settings))
logging.captureWarnings(True)  # else packages write lines of their own
service = start_service(settings)
app = create_app(GroundedLabeler.bound_to(service), service)
