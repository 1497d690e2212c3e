import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from grounded_labeler.errors import ImageError
from grounded_labeler.images.connections import TotalTimeout
from grounded_labeler.images.http_client import Client, HttpResponse
from grounded_labeler.images.proxies import Proxies
from grounded_labeler.images.resolving import LookUp, Resolver, look_up
from grounded_labeler.images.ssrf import parse_http
from tests.helpers.serving import PATIENCE_S

IMAGE = b"any image"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + IMAGE
Reply = Callable[[socket.socket], None]


def says(*parts: bytes, pause: float = 0.0) -> Reply:
    def reply(line: socket.socket) -> None:
        for part in parts:
            line.sendall(part)
            time.sleep(pause)

    return reply


@contextmanager
def server(reply: Reply, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A port of 127.0.0.1 that reads one request's headers and answers with `reply`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                line, _ = listener.accept()
                threading.Thread(target=answer, args=(line,), daemon=True).start()

    def answer(line: socket.socket) -> None:
        with suppress(OSError):
            if context:
                line = context.wrap_socket(line, server_side=True)
            with line:
                while b"\r\n\r\n" not in line.recv(65536):
                    pass
                reply(line)

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield listener.getsockname()[1]
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def send(
    address: str,
    *,
    allowed_hosts: tuple[str, ...] = (),
    trusted: bool = False,
    max_bytes: int = 1000,
    read_timeout: float = PATIENCE_S,
    total: float = PATIENCE_S,
    ssl_context: ssl.SSLContext | None = None,
    look_up: LookUp = look_up,
    proxies: Proxies | None = None,
) -> HttpResponse:
    client = Client(
        allowed_hosts=allowed_hosts,
        max_bytes=max_bytes,
        connect_timeout=PATIENCE_S,
        read_timeout=read_timeout,
        ssl_context=ssl_context,
        proxies=proxies,
        resolver=Resolver(look_up),
    )
    with TotalTimeout(total) as deadline:
        return client.send(parse_http(address), deadline, trusted=trusted)


def with_addresses(*addresses: str) -> LookUp:
    """Every name has these."""
    return lambda _host, _port: list(addresses)


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is connected to: nothing answers there."""
    dialled: list[object] = []

    def create_connection(address: object, *_: object, **__: object) -> socket.socket:
        dialled.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", create_connection)
    return dialled


SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "0",
    "localhost",
    "LocalHost",
    "localhost.",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_own_machine_is_refused_in_any_spelling(host: str) -> None:
    with server(says(PLAIN)) as port, pytest.raises(ImageError, match="private address"):
        send(f"http://{host}:{port}/")


@pytest.mark.parametrize("entry", ["localhost", "127.0.0.0/8"])
def test_allowed_private_host_is_reached(entry: str) -> None:
    allowed = (entry, "::1/128")  # localhost may have both addresses
    with server(says(PLAIN)) as port:
        assert send(f"http://localhost:{port}/", allowed_hosts=allowed) == HttpResponse(
            200, "", IMAGE
        )


def test_trusted_host_is_reached() -> None:
    with server(says(PLAIN)) as port:
        assert send(f"http://127.0.0.1:{port}/", trusted=True).body == IMAGE


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com@127.0.0.1:{}/",
        "http://127.0.0.1:{}\\@example.com/",
        "http:\\\\127.0.0.1:{}/",
        "http:/\\127.0.0.1:{}/",
        "http://127.0.0.1:{}#@example.com/",
        "http://127.0.0.1:{}?@example.com/",
        "http://127.0.0.1:{}\t.example.com/",
        "http://[::ffff:127.0.0.1%25lo]:{}/",
        "http://①②⑦.⓪.⓪.①:{}/",
    ],
)
def test_what_parsers_disagree_on_does_not_reach_own_machine(address: str) -> None:
    reached: list[object] = []
    with server(reached.append) as port, pytest.raises(ImageError):
        send(address.format(port))
    assert reached == []


def test_a_name_is_looked_up_once_so_that_a_second_answer_gains_nothing(
    dialled: list[object],
) -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["127.0.0.1"]])
    with pytest.raises(ImageError, match="cannot be reached"):
        send("http://rebinding.example/", look_up=lambda _host, _port: next(answers))
    assert dialled == [("93.184.216.34", 80)]


def test_one_private_address_among_public_ones_is_refused(dialled: list[object]) -> None:
    with pytest.raises(ImageError, match="private address"):
        send("http://example.com/", look_up=with_addresses("93.184.216.34", "127.0.0.1"))
    assert dialled == []


def test_the_checked_address_is_dialled_not_the_name(dialled: list[object]) -> None:
    with pytest.raises(ImageError, match="cannot be reached"):
        send("http://example.com/", look_up=with_addresses("93.184.216.34", "93.184.216.35"))
    assert dialled == [("93.184.216.34", 80), ("93.184.216.35", 80)]


def test_unknown_name() -> None:
    def fail(_host: str, _port: int) -> list[str]:
        raise socket.gaierror

    with pytest.raises(ImageError, match=r"nowhere\.example of the image cannot be resolved"):
        send("http://nowhere.example/", look_up=fail)


def test_looking_a_name_up_ends_with_the_deadline() -> None:
    over = threading.Event()

    def never(_host: str, _port: int) -> list[str]:
        over.wait()
        return []

    try:
        with pytest.raises(
            ImageError, match=r"slow\.example of the image was not resolved in time"
        ):
            send("http://slow.example/", look_up=never, total=0.1, trusted=True)
    finally:
        over.set()


def test_too_long_host_label() -> None:
    with pytest.raises(ImageError, match="cannot be resolved"):
        send(f"http://{'a' * 64}.example/")


def test_refused_on_localhost_hints_at_containers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ImageError, match=r"host\.docker\.internal"):
        send(f"http://127.0.0.1:{port}/", trusted=True)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000), b"x" * 1000),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), b""),
        (says(b"HTTP/1.1 200 OK\r\n\r\n" + IMAGE), IMAGE),  # no length: up to the end
        (says(CHUNKED, b"9\r\n", IMAGE, b"\r\n0\r\n\r\n"), IMAGE),
        (says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n" + IMAGE), b""),
    ],
    ids=["at the cap", "empty", "no length", "chunked", "not 200"],
)
def test_body(reply: Reply, body: bytes) -> None:
    with server(reply) as port:
        assert send(f"http://127.0.0.1:{port}/", trusted=True).body == body


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"), "more than 1,000 bytes"),
        (says(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1001), "more than 1,000 bytes"),
        (says(CHUNKED, *[b"1f4\r\n" + b"x" * 500 + b"\r\n"] * 3), "more than 1,000 bytes"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + IMAGE), "broke off"),
        (says(CHUNKED, b"9\r\n", b"pic"), "broke off"),
        (says(b"SSH-2.0-OpenSSH_9.9\r\n"), "broke off"),
        (says(), "broke off"),
    ],
    ids=["announced", "unannounced", "chunks", "short", "cut chunk", "not http", "nothing"],
)
def test_bad_body(reply: Reply, reason: str) -> None:
    with server(reply) as port, pytest.raises(ImageError, match=reason):
        send(f"http://127.0.0.1:{port}/", trusted=True)


def encoded(*encodings: str) -> Reply:
    """An answer that has the image as it is, whatever its headers say."""
    headers = "".join(f"Content-Encoding:{encoding}\r\n" for encoding in encodings)
    return says(PLAIN.replace(b"\r\n", b"\r\n" + headers.encode(), 1))


@pytest.mark.parametrize(
    "encodings",
    [("",), (" ",), (" identity",), (" Identity",), ("UTF-8",), (" utf-8",), (" aws-chunked",),
     (" aws-chunked, identity",), ("aws-chunked,",), (" aws-chunked,utf-8",), (",",), (" binary",),
     (" 8bit",), (" none",), (" base64",), (" image/png",), (" null",), (" aws-chunked", " UTF-8"),
     (" us-ascii; q=1",)],
)  # fmt: skip
def test_a_body_that_is_as_it_is(encodings: tuple[str, ...]) -> None:
    with server(encoded(*encodings)) as port:
        assert send(f"http://127.0.0.1:{port}/", trusted=True).body == IMAGE


@pytest.mark.parametrize(
    "encodings",
    [(" gzip",), ("GZIP",), (" x-gzip",), (" deflate",), (" br",), (" zstd",), (" compress",),
     (" identity, gzip",), (" aws-chunked,gzip",), (" gzip;q=1.0",), (" utf-8", " br"),
     (' "gzip"',)],
)  # fmt: skip
def test_a_body_that_is_compressed(encodings: tuple[str, ...]) -> None:
    with (
        server(encoded(*encodings)) as port,
        pytest.raises(ImageError, match="came compressed"),
    ):
        send(f"http://127.0.0.1:{port}/", trusted=True)


@pytest.mark.parametrize(
    ("raw", "location"),
    [
        ("/ä b".encode(), "/ä b"),
        ("http://bücher.example/ä".encode(), "http://bücher.example/ä"),
        ("/ä%20%C3%A4?x=ß".encode(), "/ä%20%C3%A4?x=ß"),
        ("/ä%20?#[x]".encode("latin-1"), "/%E4%20?#[x]"),  # no UTF-8: the bytes as they are
        ("/à\x85".encode(), "/à\x85"),
        (b"", ""),
    ],
)
def test_location(raw: bytes, location: str) -> None:
    reply = says(b"HTTP/1.1 302 Found\r\nLocation: " + raw + b"\r\nContent-Length: 0\r\n\r\n")
    with server(reply) as port:
        answer = send(f"http://127.0.0.1:{port}/", trusted=True)
    assert answer == HttpResponse(302, location, b"")


def test_nothing_of_an_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    reply = says(b"HTTP/1.1 302 Found\r\nLocation: /?signature=s3krit\r\nContent-Length: 0\r\n\r\n")
    with server(reply) as port:
        assert "s3krit" in send(f"http://127.0.0.1:{port}/", trusted=True).location
    assert "s3krit" not in caplog.text


def drips(begin: bytes, part: bytes) -> Reply:
    """Sends `part` again and again, until nobody takes it any more."""

    def reply(line: socket.socket) -> None:
        line.sendall(begin)
        while True:
            line.sendall(part)
            time.sleep(0.1)

    return reply


DRIPS = {
    "headers": drips(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
    "one header": drips(b"HTTP/1.1 200 OK\r\nA: ", b"b"),
    "interim answers": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": drips(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b"x"),
    "body without length": drips(b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
}


@pytest.mark.parametrize("reply", DRIPS.values(), ids=DRIPS)
def test_dripping_server_is_cut_at_the_deadline(reply: Reply) -> None:
    with server(reply) as port, pytest.raises(ImageError, match=r"in time|broke off"):
        send(f"http://127.0.0.1:{port}/", trusted=True, total=0.4)


def test_silent_server_meets_the_read_timeout() -> None:
    over = threading.Event()
    with server(lambda _: void(over.wait(PATIENCE_S))) as port:
        with pytest.raises(ImageError, match="in time"):
            send(f"http://127.0.0.1:{port}/", trusted=True, read_timeout=0.2)
        over.set()


def void(_: object) -> None:
    pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for the names localhost and images.example, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,DNS:images.example",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


def test_certificate_is_checked_against_the_name(certificate: tuple[Path, Path]) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*certificate)
    known = ssl.create_default_context(cafile=certificate[0])
    with server(says(PLAIN), served) as port:
        address = f"https://localhost:{port}/"
        assert send(address, trusted=True, ssl_context=known).body == IMAGE
        with pytest.raises(ImageError, match=r"certificate of 127\.0\.0\.1 cannot be verified"):
            send(f"https://127.0.0.1:{port}/", trusted=True, ssl_context=known)
        with pytest.raises(ImageError, match="certificate of localhost cannot be verified"):
            send(address, trusted=True)


def test_the_certificates_of_the_environment_are_trusted(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*certificate)
    with server(says(PLAIN), served) as port:
        address = f"https://localhost:{port}/"
        with pytest.raises(ImageError, match="SSL_CERT_FILE names certificate authorities"):
            send(address, trusted=True)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert send(address, trusted=True).body == IMAGE


def test_dripping_server_is_cut_under_tls(certificate: tuple[Path, Path]) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*certificate)
    known = ssl.create_default_context(cafile=certificate[0])
    drip = DRIPS["body without length"]
    with server(drip, served) as port, pytest.raises(ImageError, match="in time"):
        send(f"https://localhost:{port}/", trusted=True, total=0.4, ssl_context=known)
