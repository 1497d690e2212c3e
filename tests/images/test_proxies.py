"""A proxy is used for hosts that ALLOWED_HOSTS names, and for no others."""

import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from grounded_labeler.errors import ImageError
from grounded_labeler.images.proxies import Proxies
from grounded_labeler.images.ssrf import parse_http
from grounded_labeler.service import make_fetcher
from grounded_labeler.settings import Settings
from tests.images.test_http_client import IMAGE, PLAIN, certificate, says, send, server

__all__ = ["certificate"]  # a fixture

NOWHERE = "http://127.0.0.1:1"


class Asked:
    """What a proxy was asked for."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def lines(self) -> list[str]:
        """Method and target of each request."""
        return [" ".join(request.decode().split()[:2]) for request in self.requests]


@contextmanager
def proxy(refuses: bytes = b"", beyond: int = 0) -> Iterator[Asked]:
    """A proxy that answers http itself and tunnels everything else to the port `beyond`."""
    asked = Asked()

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve(line: socket.socket) -> None:
        with line:
            request = b""
            while b"\r\n\r\n" not in request:
                request += line.recv(65536)
            asked.requests.append(request)
            if refuses:
                line.sendall(refuses)
            elif request.startswith(b"CONNECT"):
                line.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                with socket.create_connection(("127.0.0.1", beyond)) as far:
                    back = threading.Thread(target=pump, args=(far, line), daemon=True)
                    back.start()
                    pump(line, far)
                    back.join()
            else:
                line.sendall(PLAIN)

    listener = socket.create_server(("127.0.0.1", 0))
    asked.port = listener.getsockname()[1]

    def accept() -> None:
        with suppress(OSError):
            while True:
                line, _ = listener.accept()
                threading.Thread(target=serve, args=(line,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield asked
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def unknown(host: str, _port: int) -> list[str]:
    """Behind a proxy, names of the web often have no address."""
    raise socket.gaierror(socket.EAI_NONAME, host)


def test_http_through_a_proxy() -> None:
    with proxy() as asked:
        proxies = Proxies({"http": asked.url.replace("//", "//me:a%40b@")})
        answer = send(
            "http://images.example/a%20b.png?c=d", allowed_hosts=("images.example",),
            look_up=unknown, proxies=proxies,
        )  # fmt: skip
    assert answer.body == IMAGE
    [request] = asked.requests
    assert asked.lines == ["GET http://images.example/a%20b.png?c=d"]
    assert b"\r\nHost: images.example\r\n" in request
    credentials = b64encode(b"me:a@b")
    assert b"Basic " + credentials in request
    assert request.lower().count(b"\r\nhost:") == 1


def test_https_is_tunnelled_and_the_certificate_checked(certificate: tuple[Path, Path]) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*certificate)
    known = ssl.create_default_context(cafile=certificate[0])
    with server(says(PLAIN), served) as beyond, proxy(beyond=beyond) as asked:
        options = {
            "allowed_hosts": ("other.example", "images.example"),
            "proxies": Proxies({"https": asked.url.replace("//", "//me:secret@")}),
            "look_up": unknown,
        }
        with pytest.raises(ImageError, match=r"certificate of other\.example cannot be verified"):
            send("https://other.example/a.png", ssl_context=known, **options)  # type: ignore[arg-type]
        answer = send("https://images.example/a.png", ssl_context=known, **options)  # type: ignore[arg-type]
    assert answer.body == IMAGE
    assert asked.lines == [f"CONNECT {host}.example:443" for host in ("other", "images")]
    assert b"Basic " + b64encode(b"me:secret") in asked.requests[0]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("images.example", ()),
        ("images.example", ("example",)),
        ("images.example", ("93.184.216.0/24",)),
        ("evil.images.example", ("images.example",)),
        ("93.184.216.34", ("93.184.216.34",)),
        ("minio", ("minio",)),  # names without a dot are of the own network
    ],
)
def test_other_hosts_are_reached_directly(
    monkeypatch: pytest.MonkeyPatch, host: str, allowed: tuple[str, ...]
) -> None:
    dialled: list[object] = []

    def create_connection(address: object, *_: object, **__: object) -> socket.socket:
        dialled.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(ImageError, match="cannot be reached"):
        send(
            f"http://{host}/a.png", allowed_hosts=allowed, proxies=Proxies({"http": NOWHERE}),
            look_up=lambda _host, _port: ["93.184.216.34"],
        )  # fmt: skip
    assert dialled == [("93.184.216.34", 80)]


def test_what_is_refused_directly_is_refused_with_a_proxy() -> None:
    with proxy() as asked, pytest.raises(ImageError, match="private address"):
        send(
            "http://intern.example/", proxies=Proxies({"http": asked.url}),
            look_up=lambda _host, _port: ["10.0.0.1"],
        )  # fmt: skip
    assert asked.requests == []


def test_label_studio_is_reached_directly() -> None:
    with server(says(PLAIN)) as port:
        proxies = Proxies({"http": NOWHERE, "all": NOWHERE})
        assert send(f"http://127.0.0.1:{port}/", trusted=True, proxies=proxies).body == IMAGE


@pytest.mark.parametrize(
    ("refuses", "reason"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "through the proxy 127"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "through the proxy 127"),
        (b"what?", "through the proxy 127"),
    ],
)
def test_a_proxy_that_refuses(refuses: bytes, reason: str) -> None:
    with proxy(refuses=refuses) as asked, pytest.raises(ImageError, match=reason) as caught:
        send(
            "https://images.example/", allowed_hosts=("images.example",),
            proxies=Proxies({"https": asked.url.replace("//", "//me:secret@")}), look_up=unknown,
        )  # fmt: skip
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({"http": "http://p:3128"}, "http://a.example/", "p:3128"),
        ({"http": "p:3128"}, "http://a.example/", "p:3128"),
        ({"http": "http://p"}, "http://a.example/", "p:80"),
        ({"http": "http://p:3128"}, "https://a.example/", None),
        ({"https": "http://p:3128"}, "https://a.example/", "p:3128"),
        ({"all": "http://p:3128"}, "https://a.example/", "p:3128"),
        ({"https": "http://q:1", "all": "http://p:3128"}, "https://a.example/", "q:1"),
        ({"https": "http://p:1", "no": "a.example"}, "https://a.example/", None),
        ({"https": "http://p:1", "no": ".example, other"}, "https://a.example/", None),
        ({"https": "http://p:1", "no": "*"}, "https://a.example/", None),
        ({"https": "http://p:1", "no": "b.example"}, "https://a.example/", "p:1"),
        ({"https": "http://p:1", "no": "a.example:8443"}, "https://a.example:8443/", None),
        ({"https": "http://p:1", "no": "a.example:8443"}, "https://a.example/", "p:1"),
        ({"https": "http://p:1"}, "https://minio/", None),
        ({"https": ""}, "https://a.example/", None),
        ({}, "https://a.example/", None),
    ],
)
def test_which_proxy(variables: dict[str, str], url: str, proxy: str | None) -> None:
    found = Proxies(variables).get(parse_http(url))
    assert (None if found is None else str(found)) == proxy


@pytest.mark.parametrize("address", ["socks5://p:1", "https://p:1", "http://", "http://a b/"])
def test_a_proxy_that_is_none_of_ours(address: str) -> None:
    with pytest.raises(ImageError, match="HTTPS_PROXY must be the address of an HTTP proxy"):
        Proxies({"https": address}).get(parse_http("https://a.example/"))


def test_no_password_is_shown() -> None:
    found = Proxies({"http": "http://me:secret@p:1"}).get(parse_http("http://a.example/"))
    assert "secret" not in f"{found!r} {found}"


def test_the_service_asks_the_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with proxy() as asked:
        monkeypatch.setenv("HTTP_PROXY", asked.url)
        fetcher = make_fetcher(Settings.from_env({"ALLOWED_HOSTS": "images.example"}))
        assert fetcher.fetch("http://images.example/a.png", None) == IMAGE
    assert asked.lines == ["GET http://images.example/a.png"]
