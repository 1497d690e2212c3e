"""A real server for tests, of the service that does what a phrase says, and images for it."""

import base64
import io
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests
from PIL import Image, ImageDraw

from grounded_labeler.core.boxes import box_iou
from grounded_labeler.demo.process import free_port, run_service
from grounded_labeler.label_studio.rendering import box_of, label_of
from tests.helpers.asking import (
    IMAGE,
    PROMPT,
    RECTANGLES,
    STATUS,
    body,
    of_type,
    status_of,
    typed,
    view,
)

KINDS = ("circle", "square", "triangle")
SIZE_WH, BOX = (96, 72), (14, 18, 50, 54)
BOXES = view(PROMPT, STATUS, IMAGE, RECTANGLES)
BUSY = "Too many requests are running"
STUCK = re.compile(
    r"The current batch has run for \d+ s \(MODEL_DEADLINE is \d+\): restart the service\."
)
CLIENTS = 12  # so many that it is not one worker that has them all
# gunicorn with the service's own settings for it, on an application that answers at once.
GUNICORN = (sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py")
ECHO = (*GUNICORN, "tests.helpers.echo:app")
PATIENCE_S = 200.0  # the end of a hang: what takes a moment may take a minute on a busy machine


@dataclass(frozen=True)
class Line:
    """One line of the files that tests.helpers.faulty keeps."""

    pid: int
    time: float
    text: str


@dataclass(frozen=True)
class Server:
    """A running service: its address, and the folder of its log and faulty's files."""

    url: str
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def master(self) -> int:
        [pid] = re.findall(r"Listening at: \S+ \((\d+)\)", self.log)
        return int(pid)

    @property
    def workers(self) -> list[int]:
        """All there have been, oldest first."""
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log)]

    def lines(self, name: str) -> list[Line]:
        file = self.folder / name
        parts = [
            line.split(" ", 2) for line in (file.read_text() if file.exists() else "").splitlines()
        ]
        return [Line(int(pid), float(when), text) for pid, when, text in parts]

    def runs(self, phrase: str) -> list[Line]:
        """Runs of the detector that asked for `phrase`, among others."""
        return [line for line in self.lines("runs") if phrase in line.text.split(". ")]

    def arrived(self, tag: str) -> bool:
        return any(line.text == f"/predict {tag}" for line in self.lines("arrivals"))

    def release(self) -> None:
        """End what hangs and what waits."""
        (self.folder / "release").touch()
        self.go_on()

    def hold(self) -> None:
        """Let whatever has the phrase "wait" wait."""
        (self.folder / "hold").touch()

    def go_on(self) -> None:
        (self.folder / "hold").unlink(missing_ok=True)

    def get(self, path: str) -> requests.Response:
        return send("GET", self.url + path)

    def post(self, path: str, body: object) -> requests.Response:
        return send("POST", self.url + path, json=body)

    def ask(
        self, prompt: str, kind: str = "square", config: str = BOXES, tag: str = ""
    ) -> requests.Response:
        """The answer to a typed prompt next to the image of a `kind`."""
        return self.post(f"/predict?tag={tag}", body([drawn(kind)], typed(prompt), config))

    def send_and_keep(self, tag: str, request: dict[str, Any]) -> socket.socket:
        """A connection on which /predict has been asked for `request`, and is being answered."""
        where = urlsplit(self.url)
        connection = socket.create_connection((where.hostname or "", where.port or 0), PATIENCE_S)
        content = json.dumps(request).encode()
        head = f"POST /predict?tag={tag} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n"
        connection.sendall(f"{head}\r\n".encode() + content)
        wait_until(lambda: self.arrived(tag))
        return connection


def send(method: str, url: str, **arguments: Any) -> requests.Response:
    """One request on a connection of its own, past any proxy the environment names."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=PATIENCE_S, **arguments)


@contextmanager
def served(folder: Path, app: str = "tests.helpers.faulty:app", **environ: str) -> Iterator[Server]:
    """gunicorn serving `app`."""
    # With a thread for each core, whatever else runs here makes the models ten times slower.
    with run_service(free_port(), folder / "log", app, CPU_THREADS="1", **environ) as url:
        server = Server(url, folder)
        try:
            yield server
        finally:
            server.release()  # a thread that hangs would keep the process from ending


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what must come; how soon it does is the machine's affair."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE_S} s"
        time.sleep(0.02)


@lru_cache
def drawn(kind: str, size_wh: tuple[int, int] = SIZE_WH) -> str:
    """A tiny image of one blue `kind` on grey, as a data URI."""
    image = Image.new("RGB", size_wh, (200, 200, 190))
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = np.array(BOX) * size_wh[0] // SIZE_WH[0]
    inclusive = (left, top, right - 1, bottom - 1)
    if kind == "circle":
        draw.ellipse(inclusive, fill="blue")
    elif kind == "square":
        draw.rectangle(inclusive, fill="blue")
    else:
        draw.polygon([((left + right) // 2, top), (right, bottom), (left, bottom)], fill="blue")
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def is_right(prediction: dict[str, Any], kind: str = "square") -> bool:
    """Whether it is the one labelled box of the image of a `kind`."""
    boxes = of_type(prediction.get("result", []), "rectanglelabels")
    if len(boxes) != 1 or label_of(boxes[0]) != kind.title():
        return False
    return bool(box_iou(box_of(boxes[0])[None], np.array([BOX], np.float32))[0, 0] >= 0.6)


def assert_right(answer: requests.Response, kind: str = "square") -> None:
    assert answer.status_code == 200, answer.text
    [prediction] = answer.json()["results"]
    assert is_right(prediction, kind), prediction


def status(answer: requests.Response) -> str:
    """What the annotator reads."""
    assert answer.status_code == 200, answer.text
    return status_of(answer.json()["results"][0]["result"])


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # a zombie has ended


def is_refused(url: str) -> bool:
    where = urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(PATIENCE_S)
        try:
            probe.connect((where.hostname, where.port))
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            pass  # the port closes at this very moment: the next one is refused
        return False


# Stopped
