"""The one place where things are put together: the application that gunicorn serves."""

import logging.config
import os

from grounded_labeler import logs
from grounded_labeler.__about__ import __version__
from grounded_labeler.label_studio.backend import GroundedLabeler
from grounded_labeler.server.app import create_app
from grounded_labeler.server.start_line import log_start
from grounded_labeler.service import start_service
from grounded_labeler.settings import Settings
from grounded_labeler.settings_sources import warnings_of
from grounded_labeler.tracing import start_tracing

settings = Settings.from_env(os.environ)
logging.config.dictConfig(logs.config(settings))
logging.captureWarnings(True)  # else packages write lines of their own
log_start(settings)
logger = logging.getLogger(__name__)
for sentence in warnings_of(os.environ):
    logger.warning("%s", sentence)
start_tracing(__version__, shows_prompts=settings.log_prompts)
service = start_service(settings)
app = create_app(GroundedLabeler.bound_to(service), service)
