"""The service, in which a request has ARRIVAL_S seconds to arrive.

Served as `gunicorn tests.helpers.patience:app`.
"""

import os

from grounded_labeler.server.worker import Worker
from grounded_labeler.server.wsgi import app

__all__ = ["app"]

Worker.arrival_s = float(os.environ["ARRIVAL_S"])
