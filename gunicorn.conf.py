"""gunicorn's settings, read in its master process before any worker starts."""

import os
import sys

from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.service import check_weights
from grounded_labeler.settings import Settings

try:
    _settings = Settings.from_env(os.environ)
    check_weights(_settings)
except GroundedLabelerError as error:
    sys.exit(str(error))  # one clear line instead of a worker's traceback

bind = f"0.0.0.0:{_settings.port}"
workers = _settings.workers
worker_class = "gthread"
# Some more than may make predictions, so that /health and /setup find one free.
threads = _settings.threads + 4
# Label Studio waits 100 s for a prediction.
timeout = 120
graceful_timeout = 100
# It would want a writable home and offers nothing that signals do not.
control_socket_disable = True
loglevel = _settings.log_level.lower()
