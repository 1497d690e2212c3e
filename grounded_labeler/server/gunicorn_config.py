"""gunicorn's settings, read in its master process before any worker starts."""

import os
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

# Before the imports below, and not at a reload: gunicorn's own handlers come later.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    from grounded_labeler.interrupts import expect_signals

    expect_signals("Stopped before the service was started.")

from grounded_labeler import logs
from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.interrupts import leave_worker
from grounded_labeler.server.listening import listen_addresses
from grounded_labeler.settings import Settings
from grounded_labeler.tracing import stop_tracing

_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_METRICS_PREFIX = f"grounded-labeler-metrics-{os.getpid()}-"


def _is_ours(folder: str) -> bool:
    """Whether this master process made `folder`: a user's own is not counted in, nor removed."""
    path = Path(folder)
    return path.name.startswith(_METRICS_PREFIX) and path.is_dir()


try:
    _settings = Settings.from_env(os.environ)
    # Before prometheus_client is imported: several workers count in files of a folder that
    # is ours alone. At a reload this is run again, and the folder is still there.
    if _settings.workers > 1 and not _is_ours(os.environ.get(_METRICS_VARIABLE, "")):
        os.environ[_METRICS_VARIABLE] = tempfile.mkdtemp(prefix=_METRICS_PREFIX)
    elif _settings.workers == 1:
        os.environ.pop(_METRICS_VARIABLE, None)
    from grounded_labeler.server.startup import check_start
    from grounded_labeler.server.worker import Worker

    check_start(_settings)
except GroundedLabelerError as error:
    # One clear line instead of a worker's traceback.
    sys.exit(logs.last_words(str(error), os.environ.get("LOG_FORMAT", "")))

wsgi_app = "grounded_labeler.server.wsgi:app"
bind = listen_addresses(_settings.port, _settings.bind_host)
# None is what gunicorn has where they are not set.
certfile = _settings.tls_cert and str(_settings.tls_cert)
keyfile = _settings.tls_key and str(_settings.tls_key)
# gunicorn has a way of its own with this name of URL_PREFIX, and refuses what a proxy has cut.
if os.environ.pop("SCRIPT_NAME", ""):
    os.environ["URL_PREFIX"] = _settings.url_prefix
workers = _settings.workers
worker_class = Worker
Worker.max_body_bytes = _settings.max_body_bytes
# Half of the files that the process may have open, which the service needs, too.
worker_connections = min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
# Some more than may make predictions, so that /health and /setup find one free.
threads = _settings.threads + 4
# Label Studio waits 100 s for a prediction.
timeout = 120
graceful_timeout = 100
# Nothing here asks who a proxy says the caller is, so no caller is believed.
forwarded_allow_ips = ""
# It would want a writable home and offers nothing that signals do not.
control_socket_disable = True
logconfig_dict = logs.config(_settings)


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ANN401 - gunicorn's
    """The last thing in a worker's process, and called in the master for one that is gone."""
    if worker.pid == os.getpid():
        training = getattr(worker.wsgi, "extensions", {}).get("grounded_labeler_training")
        if training is not None:
            training.stop()
        stop_tracing()
        leave_worker()


def child_exit(server: Any, worker: Any) -> None:  # noqa: ANN401 - gunicorn's
    """A worker that has ended no longer counts in the sums over those that live."""
    if _METRICS_VARIABLE in os.environ:
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:  # noqa: ANN401 - gunicorn's
    """Remove what workers counted in."""
    folder = os.environ.get(_METRICS_VARIABLE, "")
    if _is_ours(folder):
        shutil.rmtree(folder, ignore_errors=True)
