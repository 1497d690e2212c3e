"""The container's health check says what /ready says, however gunicorn serves it."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from grounded_labeler.cli import healthcheck as probe
from grounded_labeler.demo.process import free_port, running
from tests.helpers.certificates import make_certificate
from tests.helpers.serving import ECHO

pytestmark = pytest.mark.slow


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/ready" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def at(port: int) -> dict[str, str]:
    return {"PORT": str(port)}


@pytest.mark.parametrize(
    ("status", "body", "code"), [(200, b'{"status": "UP"}', 0), (503, b'{"error": "loading"}', 1)]
)
def test_it_is_ready_when_it_says_so(
    capsys: pytest.CaptureFixture[str], status: int, body: bytes, code: int
) -> None:
    with answering(status, body) as port:
        assert probe.check_service(at(port)) == code
    assert capsys.readouterr().out == body.decode() + "\n"


def test_nobody_there_is_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    assert probe.check_service(at(port)) == 1
    assert f"no answer on port {port}" in capsys.readouterr().out


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with answering(200, b"ready") as port:
        assert probe.check_service(at(port)) == 0


def test_what_does_not_speak_http_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe, "_PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert probe.check_service(at(silent.getsockname()[1])) == 1
    assert "no answer" in capsys.readouterr().out


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls of gunicorn"), "labeler")


# How a person has gunicorn serve: the environment of the service, and what of it the probe has.
WAYS = {
    "plain": ({}, True),
    "under a prefix": ({"SCRIPT_NAME": "/labeler"}, True),
    "under a prefix that ends in a slash": ({"SCRIPT_NAME": "/labeler/"}, True),
    "a prefix as an option": ({"GUNICORN_CMD_ARGS": "--env SCRIPT_NAME=/labeler"}, True),
    "a place as an option": ({"GUNICORN_CMD_ARGS": "-b [::1]:PORT", "PORT": "1"}, True),
    "TLS": ({"GUNICORN_CMD_ARGS": "TLS"}, True),
    "TLS and a prefix": ({"GUNICORN_CMD_ARGS": "TLS", "SCRIPT_NAME": "/a/b"}, True),
    "TLS that the probe does not know of": ({"GUNICORN_CMD_ARGS": "TLS"}, False),
    "a prefix as a setting": ({"URL_PREFIX": "/labeler/"}, True),
    "an address of one's own": ({"BIND": "127.0.0.1"}, True),
    "an address and a port": ({"BIND": "127.0.0.1:PORT", "PORT": ""}, True),
    "a port alone": ({"BIND": "PORT", "PORT": ""}, True),
    "all of IPv6": ({"BIND": "[::]:PORT", "PORT": ""}, True),
    "IPv6 of this machine": ({"BIND": "[::1]:PORT", "PORT": ""}, True),
    "all settings at once": (
        {"BIND": "localhost:PORT", "PORT": "", "URL_PREFIX": "/a", "TLS_CERT": "C", "TLS_KEY": "K"},
        True,
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_follows_how_gunicorn_is_told_to_serve(
    tmp_path: Path, certificate: tuple[Path, Path], way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    environ, is_known = WAYS[way]
    if "::" in f"{environ}" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    port, (cert, key) = free_port(), certificate
    named = {"PORT": str(port), "TLS": f"--certfile='{cert}' --keyfile '{key}'"}
    named |= {"C": str(cert), "K": str(key)}
    values = {name: re.sub(r"\b(PORT|TLS|C|K)\b", lambda found: named[found[1]], value)
              for name, value in environ.items()}  # fmt: skip
    environ = at(port) | values
    known = environ if is_known else at(port)
    with running(
        ECHO, os.environ | {"DETECTOR": "demo", "SEGMENTER": "demo"} | environ, tmp_path / "log",
        lambda: probe.check_service(known) == 0,
    ):  # fmt: skip
        under_tls = "TLS" in way or "TLS_CERT" in environ
        assert under_tls == ('"https"' in capsys.readouterr().out)


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"BIND": "here:there"}, "BIND must be an address, a port, or both"),
        ({"URL_PREFIX": "labeler"}, "URL_PREFIX must be a path like /labeler"),
        ({"PORT": "http"}, "PORT must be a number from 1 to 65535"),
        # As the service refuses it; int() would not.
        ({"PORT": "9_090"}, "PORT must be a number from 1 to 65535"),
        ({"PORT": "٩٠٩٠"}, "PORT must be a number from 1 to 65535"),
        ({"PORT": "99999"}, "PORT must be a number from 1 to 65535"),
    ],
)
def test_a_place_that_is_none_is_said(
    environ: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe.check_service(environ) == 1
    assert capsys.readouterr().out.startswith(said)


def test_another_s_option_is_passed_over() -> None:
    with answering(200, b"ready") as port:
        options = {"GUNICORN_CMD_ARGS": "--workers=2 --log-level info --access-logfile -"}
        assert probe.check_service(at(port) | options) == 0


@pytest.mark.parametrize("options", ["--certfile 'x", "--bind"])
def test_options_that_cannot_be_read_are_said(
    options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe.check_service({"GUNICORN_CMD_ARGS": options}) == 1
    assert "GUNICORN_CMD_ARGS cannot be read" in capsys.readouterr().out
