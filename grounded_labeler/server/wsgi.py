"""The one place where things are put together: the application that gunicorn serves."""

import logging.config
import os

from grounded_labeler import logs
from grounded_labeler.label_studio.backend import GroundedLabeler
from grounded_labeler.server.app import create_app
from grounded_labeler.server.start_line import log_start
from grounded_labeler.service import start_service
from grounded_labeler.settings import Settings

settings = Settings.from_env(os.environ)
logging.config.dictConfig(logs.config(settings))
logging.captureWarnings(True)  # else packages write lines of their own
log_start(settings)
service = start_service(settings)
app = create_app(GroundedLabeler.bound_to(service), service)
