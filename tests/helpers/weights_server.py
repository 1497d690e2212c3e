"""A server of one small model file, for the tests of checksums, download and weights."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from grounded_labeler.weights.model import Model, ModelFile

CONTENT = bytes(range(256)) * 2400
HALF = len(CONTENT) // 2


class Source(ThreadingHTTPServer):
    """Serves `body`, as badly as a test asks for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = CONTENT
        self.ranges = True
        self.states_length = True
        self.statuses: list[int] = []  # answered first, one per request
        self.cuts: list[int] = []  # bytes sent before the connection is cut, one per request
        self.asked: list[str | None] = []  # the Range header of each request
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Source

    def do_GET(self) -> None:
        source = self.server
        wanted = self.headers["Range"]
        source.asked.append(wanted)
        start, status = 0, 200
        if source.statuses:
            self.send_error(source.statuses.pop(0))
            return
        if wanted and source.ranges:
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(source.body):
                self.send_error(416)
                return
        rest = source.body[start:]
        self.send_response(status)
        if status == 206:
            total = len(source.body)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if source.states_length:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if source.cuts:
            rest = rest[: source.cuts.pop(0)]
        self.wfile.write(rest)
        source.sent += len(rest)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Source]:
    with Source() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def small_model(url: str, name: str = "small") -> Model:
    file = ModelFile("small.pt", f"{url}/small.pt", len(CONTENT), sum_of(CONTENT))
    return Model(name, "sam", "https://example.org/small", "Apache-2.0", (file,))


def sum_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def change_a_byte(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(HALF)
        byte = stream.read(1)[0]
        stream.seek(HALF)
        stream.write(bytes([byte ^ 1]))


def closed_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
