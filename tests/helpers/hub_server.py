"""A stand-in for the Hugging Face hub: repositories that are folders of this machine."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


def git_sum(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass
class HubServer:
    """Serves `repositories`, "owner/name" to a folder, as the hub does.

    Safetensors are in its large file storage, on another host. Of a repository in `gated`, only
    who has the token gets anything. `stated` replaces what is said of a file, by its name.
    """

    url: str
    repositories: dict[str, Path] = field(default_factory=dict)
    gated: dict[str, str] = field(default_factory=dict)
    stated: dict[str, dict[str, object]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, token

    def describe(self, name: str) -> dict[str, object]:
        return {
            "id": name,
            "sha": COMMIT,
            "siblings": [
                self._sibling(file)
                for file in sorted(self.repositories[name].iterdir())
                if file.is_file()
            ],
        }

    def _sibling(self, file: Path) -> dict[str, object]:
        content = file.read_bytes()
        said: dict[str, object] = {
            "rfilename": file.name,
            "size": len(content),
            "blobId": git_sum(content),
        }
        if file.suffix == ".safetensors":
            sum_of_file = hashlib.sha256(content).hexdigest()
            said["lfs"] = {"sha256": sum_of_file, "size": len(content), "pointerSize": 134}
        return said | self.stated.get(file.name, {})


@contextmanager
def hub_server() -> Iterator[HubServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            token = (self.headers["Authorization"] or "").removeprefix("Bearer ") or None
            hub.asked.append((path, token))
            about = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path)
            of_file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", path)
            name = about[1] if about else of_file[1] if of_file else ""
            stored = re.fullmatch(r"/store/([^/]+/[^/]+)/(.+)", path)
            if stored:  # its address is a secret of its own, for a while
                self._send((hub.repositories[stored[1]] / stored[2]).read_bytes())
            elif name not in hub.repositories:
                self.send_error(401)  # as the hub says of a repository that there is not
            elif hub.gated.get(name, token) != token:
                self.send_error(403)
            elif about:
                self._send(json.dumps(hub.describe(name)).encode())
            elif of_file and (file := hub.repositories[name] / of_file[3]).is_file():
                if file.suffix == ".safetensors":
                    self._redirect(f"/store/{name}/{file.name}")
                else:
                    self._send(file.read_bytes())
            else:
                self.send_error(404)

        def _redirect(self, path: str) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{server.server_address[1]}{path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub = HubServer(f"http://127.0.0.1:{server.server_address[1]}")
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()
