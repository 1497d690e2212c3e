"""Measure the service under each server that is installed: `python tools/compare_servers.py`.

One line of JSON for each. waitress, granian, hypercorn, cheroot and a2wsgi are not among the
project's packages: install them beside it, in an environment of their own. The rates are per
CPU second of the server's processes, so that other work on the machine matters little.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import requests

from grounded_labeler.demo.process import HERE, ROOT, answers, free_port, running
from tests.helpers.asking import body, typed
from tests.helpers.serving import BOXES, drawn

APP = "tests.helpers.faulty:app"
THREADS, CLIENTS = 20, 200
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
HALF_BODY = HEAD + b"Content-Length: 1000\r\n\r\n{"
PATIENCE_S, LONGEST_DRIP_S = 12.0, 45.0
ASGI = f"""
from {{module}} import WSGIMiddleware
from {APP.replace(":", " import ")} as application
app = WSGIMiddleware(application, workers={THREADS})
"""
CHEROOT = f"""
import signal, sys
from cheroot.wsgi import Server
from {APP.replace(":", " import ")}
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
server = Server(("127.0.0.1", int(sys.argv[1])), app, {THREADS}, max={THREADS})
try:
    server.start()
finally:
    server.stop()
"""
GUNICORN = "gunicorn --config gunicorn.conf.py --bind 127.0.0.1:{port}"
# By name: the packages it needs, and the module to run with its options.
SERVERS = {
    "gunicorn, this project's worker": (["gunicorn"], f"{GUNICORN} {APP}"),
    "gunicorn, its own threads": (["gunicorn"], f"{GUNICORN} --worker-class gthread {APP}"),
    "gunicorn, asgi": (
        ["gunicorn", "a2wsgi"],
        "gunicorn --worker-class asgi --bind 127.0.0.1:{port} by_a2wsgi:app",
    ),
    "uvicorn": (["uvicorn"], "uvicorn --port {port} by_uvicorn:app"),
    "waitress": (
        ["waitress"],
        f"waitress --threads {THREADS} --connection-limit 1000 --channel-timeout 30"
        f" --listen 127.0.0.1:{{port}} {APP}",
    ),
    "granian": (
        ["granian"],
        f"granian --interface wsgi --blocking-threads {THREADS} --port {{port}} {APP}",
    ),
    "hypercorn": (["hypercorn"], f"hypercorn --bind 127.0.0.1:{{port}} wsgi:{APP}"),
    "cheroot": (["cheroot"], "by_cheroot {port}"),
}


class Process:
    """The server's, which runs in the block of `started`."""

    def __init__(self, port: int) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        self.pid, *_ = children(os.getpid())

    def cpu_s(self) -> float:
        """CPU seconds of the process and its children so far."""
        ticks = 0
        for pid in [self.pid, *children(self.pid)]:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        """Memory that no other process has."""
        kib = 0
        for pid in [self.pid, *children(self.pid)]:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
        return kib / 1024

    def predict(self, phrase: str, width: int) -> int:
        """The status of the response to a typed prompt on an image that is not in the cache."""
        request = body([drawn("square", (width, 72))], typed(phrase), BOXES)
        try:
            return requests.post(f"{self.url}/predict", json=request, timeout=60).status_code
        except requests.ConnectionError:
            return 0


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *children(child)]
    return found


@contextmanager
def started(command: str, folder: Path) -> Iterator[Process]:
    port = free_port()
    environ = {"DETECTOR": "demo", "SEGMENTER": "demo", "CPU_THREADS": "1", "NO_PROXY": "*"}
    environ |= {"MODEL_DIR": str(folder), "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    arguments = [sys.executable, "-m", *command.format(port=port).split()]
    url = f"http://127.0.0.1:{port}/ready"
    with running(arguments, os.environ | environ, folder / "log", lambda: answers(url)):
        yield Process(port)


def rate(process: Process, count: int, path_or_phrase: str) -> float:
    """Requests per CPU second."""
    before = process.cpu_s()
    for number in range(count):
        if path_or_phrase.startswith("/"):
            assert HERE.get(process.url + path_or_phrase, timeout=60).ok
        else:
            assert process.predict(path_or_phrase, 96 + number) == requests.codes.ok
    return round(count / (process.cpu_s() - before), 1)


def answers_beside(process: Process, sent: bytes) -> bool:
    """Whether it answers while so many clients have sent this and no more."""
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            client = socket.create_connection(("127.0.0.1", process.port), PATIENCE_S)
            stack.enter_context(client).sendall(sent)
        time.sleep(2)  # until each has the thread that it may get
        try:
            return requests.get(f"{process.url}/health", timeout=PATIENCE_S).ok
        except requests.RequestException:
            return False


def cut_off_after(process: Process) -> float | None:
    """Seconds until who sends a byte a second is answered or closed; None: not while watched."""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", process.port), PATIENCE_S) as client:
        client.sendall(HALF_BODY)
        client.settimeout(1)
        while (passed := time.monotonic() - begin) < LONGEST_DRIP_S:
            try:
                client.sendall(b"a")
                client.recv(1)
            except TimeoutError:
                continue
            except ConnectionError:
                pass
            return round(passed)
    return None


def in_flight_at_sigterm(process: Process) -> bool:
    """Whether a request that is being answered gets its answer; the server ends."""
    statuses: list[int] = []
    waiting = threading.Thread(target=lambda: statuses.append(process.predict("sleep 4", 96)))
    waiting.start()
    time.sleep(2)
    os.kill(process.pid, signal.SIGTERM)
    waiting.join()
    return statuses == [requests.codes.ok]


def measure(name: str, command: str, folder: Path) -> None:
    (folder / "by_a2wsgi.py").write_text(ASGI.format(module="a2wsgi"))
    (folder / "by_uvicorn.py").write_text(ASGI.format(module="uvicorn.middleware.wsgi"))
    (folder / "by_cheroot.py").write_text(CHEROOT)
    with started(command, folder) as process:
        figures: dict[str, object] = {"server": name, "CPU s to start": process.cpu_s()}
        time.sleep(2)
        figures["MiB at rest"] = round(process.memory_mib())
        figures["/health a CPU s"] = rate(process, 1000, "/health")
        figures["/predict a CPU s"] = rate(process, 60, "square")
        figures["beside half heads"] = answers_beside(process, HEAD[:-20])
        figures["beside half bodies"] = answers_beside(process, HALF_BODY)
        figures["cut off after s"] = cut_off_after(process)
        figures["in flight at SIGTERM"] = in_flight_at_sigterm(process)
    sys.stdout.write(f"{json.dumps(figures)}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure all, or those whose names contain the first argument."""
    os.environ["NO_PROXY"] = "*"
    for name, (packages, command) in SERVERS.items():
        if missing := [package for package in packages if find_spec(package) is None]:
            sys.stdout.write(f"{name}: not measured, {', '.join(missing)} is not installed\n")
        elif not sys.argv[1:] or sys.argv[1] in name:
            with tempfile.TemporaryDirectory() as folder:
                measure(name, command, Path(folder))


if __name__ == "__main__":
    main()
