"""The service listens on IPv4 and on IPv6 where there are both."""

import os
import socket
from pathlib import Path

import pytest

from grounded_labeler.cli import healthcheck as probe
from grounded_labeler.demo.process import HERE, answers, free_port, running
from grounded_labeler.server.listening import listen_addresses
from tests.helpers.serving import ECHO

pytestmark = pytest.mark.slow


class Socket:
    """One of IPv6, as the machine would have it."""

    def __init__(self, *, ipv6_only: int = 0, fails: bool = False) -> None:
        self.ipv6_only = ipv6_only
        self.fails = fails

    def __enter__(self) -> "Socket":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        return self.ipv6_only

    def bind(self, address: object) -> None:
        if self.fails:
            raise OSError("Cannot assign requested address")


def no_family(family: object, kind: object) -> Socket:
    raise OSError("Address family not supported by protocol")


@pytest.mark.parametrize(
    ("opened", "addresses"),
    [
        (lambda *_: Socket(), ["[::]:80"]),
        (lambda *_: Socket(ipv6_only=1), ["[::]:80", "0.0.0.0:80"]),
        (lambda *_: Socket(fails=True), ["0.0.0.0:80"]),  # switched off, as Docker does
        (no_family, ["0.0.0.0:80"]),  # not in the kernel
    ],
)
def test_what_there_is(opened: object, addresses: list[str]) -> None:
    assert listen_addresses(80, None, opened) == addresses  # type: ignore[arg-type]


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_the_port_is_that_of_the_settings_on_every_family_there_is(tmp_path: Path) -> None:
    port = free_port()
    environ = os.environ | {"DETECTOR": "demo", "SEGMENTER": "demo", "PORT": str(port)}
    url = f"http://127.0.0.1:{port}"
    with running(ECHO, environ, tmp_path / "log", lambda: answers(url)):
        assert HERE.get(url, timeout=60).status_code == 200
        if has_ipv6():
            assert HERE.get(f"http://[::1]:{port}", timeout=60).status_code == 200
        assert probe.check_service(environ) == 0  # which asks 127.0.0.1
