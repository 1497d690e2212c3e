"""Processes for the demo and the tests: started, waited for, ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.settings import variable_names
from grounded_labeler.settings_sources import ENV_FILE

ROOT = Path(__file__).resolve().parents[2]
STARTUP_PATIENCE_S = 300.0
_ENDING_PATIENCE_S = 60.0

# A proxy named in the environment is not for a service on this machine.
HERE = requests.Session()
HERE.trust_env = False


class DidNotStart(GroundedLabelerError):
    """A process ended, or was not ready in time; the message says what its log says."""


@contextmanager
def run_service(port: int, log: Path, app: str | None = None, **environ: str) -> Iterator[str]:
    """Run `serve` with the demo models and the settings `environ`; yields its address.

    `app`, as module:variable, is served instead of the service. Settings of the caller's own
    environment do not reach it, nor those of a file `.env`. Weights aside, it keeps its files
    beside `log`.
    """
    ours = {name for names in variable_names().values() for name in names}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    defaults = {"DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": str(log.parent.resolve())}
    defaults |= {ENV_FILE: os.devnull}
    serve = ["serve", "--bind", f"127.0.0.1:{port}", *([app] if app else [])]
    command = [sys.executable, "-m", "grounded_labeler", *serve]
    refuse_a_busy_port(port)
    url = f"http://127.0.0.1:{port}"
    with running(command, inherited | defaults | environ, log, lambda: _models_are_ready(url)):
        yield url


@contextmanager
def running(
    command: Sequence[str | Path],
    environ: Mapping[str, str],
    log: Path,
    is_ready: Callable[[], bool],
) -> Iterator[None]:
    """Run `command`, its output going to the end of `log`, until the block is left.

    Raises DidNotStart when it ends before `is_ready`, or takes too long.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait_until(is_ready, process, log)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=_ENDING_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def refuse_a_busy_port(port: int) -> None:
    """Raises DidNotStart when something listens on it already."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise DidNotStart(
                f"Port {port} is in use: end what runs there, or choose another: --port."
            )


def free_port() -> int:
    """A port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered with success."""
    try:
        return HERE.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _models_are_ready(url: str) -> bool:
    try:
        health = HERE.get(f"{url}/health", timeout=2).json()
    except requests.RequestException:
        return False
    if health.get("models") == "failed":
        raise DidNotStart(f"The models could not be loaded: {health['error']}")
    return bool(health.get("models") == "ready")


def _wait_until(
    is_ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path
) -> None:
    deadline = time.monotonic() + STARTUP_PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DidNotStart(f"It ended at once:\n{log.read_text(errors='replace')}")
        if is_ready():
            return
        time.sleep(0.2)
    raise DidNotStart(f"It was not ready after {STARTUP_PATIENCE_S:.0f} s; see {log}.")
