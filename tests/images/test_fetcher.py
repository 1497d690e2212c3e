import base64
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from grounded_labeler.errors import ImageError
from grounded_labeler.images.fetcher import Fetcher, Origin

LEGACY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"
IMAGE = b"any image"


@dataclass
class Site:
    """A web server on this machine; `routes` maps a path to (status, Location, body)."""

    port: int = 0
    routes: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    seen: list[tuple[str, str | None]] = field(default_factory=list)  # path, Authorization
    good_tokens: set[str] | None = None  # None: all
    exchanged_at: list[str] = field(default_factory=list)  # paths

    @property
    def exchanges(self) -> int:
        return len(self.exchanged_at)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, authorization: str | None) -> tuple[int, str, bytes]:
        self.seen.append((path, authorization))
        if self.good_tokens is not None and authorization not in self.good_tokens:
            return 401, "", b""
        return self.routes.get(path, (404, "", b""))


@pytest.fixture
def make_site() -> Iterator[type[Site]]:
    servers: list[ThreadingHTTPServer] = []

    class Running(Site):
        def __init__(self, **routes: tuple[int, str, bytes]) -> None:
            super().__init__(routes=dict(routes))
            site = self

            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    status, location, body = site.answer(
                        self.path, self.headers.get("Authorization")
                    )
                    self.reply(status, location, body)

                def do_POST(self) -> None:
                    self.rfile.read(int(self.headers["Content-Length"]))
                    site.exchanged_at.append(self.path)
                    self.reply(200, "", b'{"access": "a.b.%d"}' % site.exchanges)

                def reply(self, status: int, location: str, body: bytes) -> None:
                    self.send_response(status)
                    if location:
                        # As raw bytes of UTF-8: the module itself writes Latin-1.
                        self.send_header("Location", location.encode().decode("latin-1"))
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, format: str, *args: object) -> None:
                    """Keep the test output quiet."""

            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            servers.append(server)
            threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True).start()
            self.port = server.server_port

    yield Running
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def studio(make_site: type[Site]) -> Site:
    """A Label Studio with one uploaded image."""
    site = make_site()
    site.routes["/data/upload/1/a.png"] = (200, "", IMAGE)
    return site


@pytest.fixture
def elsewhere(make_site: type[Site]) -> Site:
    """Another server, with an image."""
    site = make_site()
    site.routes["/a.png"] = (200, "", IMAGE)
    return site


ANYWHERE_HERE = ("127.0.0.0/8",)


@pytest.mark.parametrize("token", [None, LEGACY])
def test_uploaded_image(studio: Site, token: str | None) -> None:
    assert Fetcher().fetch("/data/upload/1/a.png", Origin(studio.url, token)) == IMAGE
    assert studio.seen == [("/data/upload/1/a.png", f"Token {token}" if token else None)]


def test_name_with_spaces_and_letters_beyond_ascii(studio: Site) -> None:
    studio.routes["/data/upload/1/%C3%A4%20b.png"] = (200, "", IMAGE)
    assert Fetcher().fetch("/data/upload/1/ä b.png", Origin(studio.url)) == IMAGE


BELOW = "/label-studio/data/upload/1/a.png"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", ["/data/upload/1/a.png", BELOW, f"{{studio}}{BELOW}"])
def test_label_studio_under_a_prefix(studio: Site, path: str, slash: str) -> None:
    studio.routes[BELOW] = (200, "", IMAGE)
    origin = Origin(f"{studio.url}/label-studio{slash}", LEGACY)
    assert Fetcher().fetch(path.format(studio=studio.url), origin) == IMAGE
    assert studio.seen == [(BELOW, f"Token {LEGACY}")]


@pytest.mark.parametrize("path", [BELOW, "/a/b/data/upload/1/a.png", "/data/upload/1/a.png"])
def test_label_studio_whose_prefix_is_taken_off_on_the_way(studio: Site, path: str) -> None:
    assert Fetcher().fetch(path, Origin(studio.url, LEGACY)) == IMAGE
    assert studio.seen == [("/data/upload/1/a.png", f"Token {LEGACY}")]


def test_cloud_address_under_a_prefix(studio: Site, elsewhere: Site) -> None:
    coded = base64.urlsafe_b64encode(b"s3://bucket/a.png").decode()
    route = f"/label-studio/tasks/7/resolve/?fileuri={coded}"
    studio.routes[route] = (303, f"{elsewhere.url}/a.png", b"")
    fetcher, origin = Fetcher(allowed_hosts=ANYWHERE_HERE), Origin(f"{studio.url}/label-studio/")
    origin = replace(origin, token=LEGACY)
    assert fetcher.fetch("s3://bucket/a.png", origin, task_id=7) == IMAGE
    written = f"/label-studio/tasks/7/presign/?fileuri={coded}"  # as newer ones have it in tasks
    studio.routes[written] = studio.routes[route]
    assert fetcher.fetch(written, origin, task_id=7) == IMAGE
    assert studio.seen == [(route, f"Token {LEGACY}"), (written, f"Token {LEGACY}")]
    assert elsewhere.seen == [("/a.png", None)] * 2


def test_personal_token_under_a_prefix(studio: Site) -> None:
    studio.routes[BELOW] = (200, "", IMAGE)
    assert Fetcher().fetch(BELOW, Origin(f"{studio.url}/label-studio", PERSONAL)) == IMAGE
    assert studio.exchanged_at == ["/label-studio/api/token/refresh/"]
    assert studio.seen == [(BELOW, "Bearer a.b.1")]


def test_redirect_below_a_prefix(studio: Site) -> None:
    studio.routes[BELOW] = (302, "/label-studio/data/other.png", b"")
    studio.routes["/label-studio/data/other.png"] = (200, "", IMAGE)
    assert Fetcher().fetch(BELOW, Origin(f"{studio.url}/label-studio", LEGACY)) == IMAGE
    assert [token for _, token in studio.seen] == [f"Token {LEGACY}"] * 2


@pytest.mark.parametrize("path", ["/data/upload/1/a.png", "/label-studio2/data/a.png"])
def test_no_token_goes_to_what_lies_beside_the_prefix(studio: Site, path: str) -> None:
    studio.routes[path] = (200, "", IMAGE)
    studio.routes[BELOW] = (302, path, b"")
    origin = Origin(f"{studio.url}/label-studio", LEGACY)
    assert Fetcher().fetch(f"{studio.url}{path}", origin) == IMAGE
    assert Fetcher().fetch(BELOW, origin) == IMAGE
    assert studio.seen == [(path, None), (BELOW, f"Token {LEGACY}"), (path, None)]


def test_no_token_goes_where_label_studio_redirects_to_but_to_images(studio: Site) -> None:
    studio.routes["/data/upload/1/a.png"] = (302, "/user/login/?next=/data", b"")
    with pytest.raises(ImageError, match="status 404"):
        Fetcher().fetch("/data/upload/1/a.png", Origin(studio.url, LEGACY))
    assert [token for _, token in studio.seen] == [f"Token {LEGACY}", None]


def test_token_goes_to_an_absolute_address_of_label_studio(studio: Site) -> None:
    Fetcher().fetch(f"{studio.url}/data/upload/1/a.png", Origin(studio.url, LEGACY))
    assert studio.seen == [("/data/upload/1/a.png", f"Token {LEGACY}")]


@pytest.mark.parametrize("path", ["/api/users/", "/data/%2E%2E/api/users/", "/static/a.png"])
def test_no_token_goes_to_what_is_no_image_route(studio: Site, path: str) -> None:
    studio.routes[path] = (200, "", IMAGE)
    assert Fetcher().fetch(f"{studio.url}{path}", Origin(studio.url, LEGACY)) == IMAGE
    assert studio.seen == [(path, None)]


@pytest.mark.parametrize("uri", ["/data/upload/1/a.png", "{studio}/data/upload/1/a.png"])
def test_a_private_address_is_for_a_trusted_label_studio_only(studio: Site, uri: str) -> None:
    stranger = Origin(studio.url, LEGACY, trusted=False)
    with pytest.raises(ImageError, match=r"private address: .* or set LABEL_STUDIO_URL"):
        Fetcher().fetch(uri.format(studio=studio.url), stranger)
    with pytest.raises(ImageError, match="private address"):
        Fetcher().fetch(uri.format(studio=studio.url), replace(stranger, token=PERSONAL))
    assert (studio.seen, studio.exchanges) == ([], 0)
    fetcher = Fetcher(allowed_hosts=ANYWHERE_HERE)
    assert fetcher.fetch(uri.format(studio=studio.url), stranger) == IMAGE


def test_no_token_goes_to_another_port(studio: Site, elsewhere: Site) -> None:
    fetcher = Fetcher(allowed_hosts=ANYWHERE_HERE)
    assert fetcher.fetch(f"{elsewhere.url}/a.png", Origin(studio.url, LEGACY)) == IMAGE
    assert elsewhere.seen == [("/a.png", None)]


def test_other_port_of_label_studios_machine_is_not_trusted(studio: Site, elsewhere: Site) -> None:
    with pytest.raises(ImageError, match="ALLOWED_HOSTS"):
        Fetcher().fetch(f"{elsewhere.url}/a.png", Origin(studio.url, LEGACY))
    assert elsewhere.seen == []


def test_unusable_label_studio_does_not_stop_other_images(elsewhere: Site) -> None:
    fetcher = Fetcher(allowed_hosts=ANYWHERE_HERE)
    assert fetcher.fetch(f"{elsewhere.url}/a.png", Origin("studio:8080")) == IMAGE


def test_unknown_label_studio() -> None:
    with pytest.raises(ImageError, match="LABEL_STUDIO_URL"):
        Fetcher().fetch("/data/upload/1/a.png", None)


@pytest.mark.parametrize(
    "uri",
    [
        "/etc/passwd",
        "/api/users/",
        "/data/../api/users/",
        "/user/login",
        "/tasks/1/delete/",
        "//127.0.0.1/data/upload/1/a.png",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "ftp://user:secret@127.0.0.1/a.png",
        "data/upload/1/a.png",
        "C:\\a.png",
        "http://user:secret@127.0.0.1/a.png",
        "",
    ],
)
def test_refused_addresses(studio: Site, uri: str) -> None:
    with pytest.raises(ImageError) as caught:
        Fetcher(local_files_root=Path("/")).fetch(uri, Origin(studio.url, LEGACY))
    assert "secret" not in str(caught.value)
    assert studio.seen == []


@pytest.mark.parametrize(
    ("status", "token", "reason"),
    [
        (401, None, "wants a token"),
        (401, LEGACY, "refused the token"),
        (403, LEGACY, "forbids"),
        (403, LEGACY, "need LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED there"),
        (404, LEGACY, "has no image at"),
        (500, LEGACY, "status 500"),
        (204, LEGACY, "status 204"),
        (302, LEGACY, "status 302"),  # without a Location
    ],
)
def test_label_studio_refuses(studio: Site, status: int, token: str | None, reason: str) -> None:
    studio.routes["/data/upload/1/a.png"] = (status, "", b"")
    with pytest.raises(ImageError, match=reason) as caught:
        Fetcher().fetch("/data/upload/1/a.png", Origin(studio.url, token))
    assert LEGACY not in str(caught.value)


def test_personal_token_is_exchanged_and_renewed_once(studio: Site) -> None:
    fetcher, origin = Fetcher(), Origin(studio.url, PERSONAL)
    studio.good_tokens = {"Bearer a.b.1"}
    assert fetcher.fetch("/data/upload/1/a.png", origin) == IMAGE
    studio.good_tokens = {"Bearer a.b.2"}
    assert fetcher.fetch("/data/upload/1/a.png", origin) == IMAGE
    studio.good_tokens = set()
    with pytest.raises(ImageError, match="refused the token"):
        fetcher.fetch("/data/upload/1/a.png", origin)
    assert studio.exchanges == 3
    assert [token for _, token in studio.seen] == [f"Bearer a.b.{n}" for n in (1, 1, 2, 2, 3)]


@pytest.mark.parametrize("scheme", ["s3", "gs", "azure-blob"])
def test_cloud_address_is_resolved_by_label_studio(
    studio: Site, elsewhere: Site, scheme: str
) -> None:
    uri = f"{scheme}://bucket/a ä?.png"
    coded = base64.urlsafe_b64encode(uri.encode()).decode()
    elsewhere.routes["/a.png?signature=s"] = (200, "", IMAGE)
    route = f"/tasks/7/resolve/?fileuri={coded}"
    studio.routes[route] = (303, f"{elsewhere.url}/a.png?signature=s", b"")
    fetcher = Fetcher(allowed_hosts=ANYWHERE_HERE)
    assert fetcher.fetch(uri, Origin(studio.url, LEGACY), task_id=7) == IMAGE
    assert studio.seen == [(route, f"Token {LEGACY}")]
    assert elsewhere.seen == [("/a.png?signature=s", None)]


@pytest.mark.parametrize("task_id", [None, "7", "7/../../api/users/?", [7]])
def test_cloud_address_needs_a_task(studio: Site, task_id: object) -> None:
    with pytest.raises(ImageError, match="saved task"):
        Fetcher().fetch("s3://bucket/a.png", Origin(studio.url), task_id)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "location", ["/data/ä b.png", "/data/%C3%A4%20b.png", "http://127.0.0.1:{port}/data/ä%20b.png"]
)
def test_redirect_in_raw_utf_8(studio: Site, location: str) -> None:
    studio.routes["/data/upload/1/a.png"] = (302, location.format(port=studio.port), b"")
    studio.routes["/data/%C3%A4%20b.png"] = (200, "", IMAGE)
    assert Fetcher().fetch("/data/upload/1/a.png", Origin(studio.url)) == IMAGE


def test_redirect_to_a_private_address_is_refused(studio: Site, elsewhere: Site) -> None:
    studio.routes["/data/upload/1/a.png"] = (302, f"{elsewhere.url}/a.png?signature=s", b"")
    with pytest.raises(ImageError, match="private address") as caught:
        Fetcher().fetch("/data/upload/1/a.png", Origin(studio.url, LEGACY))
    assert elsewhere.seen == []
    assert "signature" not in str(caught.value)


def test_token_does_not_come_back_after_leaving(studio: Site, elsewhere: Site) -> None:
    elsewhere.routes["/back"] = (302, f"{studio.url}/data/upload/1/a.png", b"")
    studio.routes["/data/away"] = (302, f"{elsewhere.url}/back", b"")
    fetcher = Fetcher(allowed_hosts=ANYWHERE_HERE)
    assert fetcher.fetch("/data/away", Origin(studio.url, LEGACY)) == IMAGE
    assert [token for _, token in studio.seen] == [f"Token {LEGACY}", None]
    assert elsewhere.seen == [("/back", None)]


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://a/",
        "http://",
        "//user:x@a/",
        "http://[x]/",
        "http://[::1",
        "//[",
    ],
)
def test_redirect_to_something_else(studio: Site, location: str) -> None:
    studio.routes["/data/upload/1/a.png"] = (302, location, b"")
    with pytest.raises(ImageError):
        Fetcher().fetch("/data/upload/1/a.png", Origin(studio.url))


@pytest.mark.parametrize(("hops", "fetched"), [(3, True), (4, False)])
def test_number_of_redirects(studio: Site, hops: int, fetched: bool) -> None:
    for hop in range(hops):
        studio.routes[f"/data/{hop}"] = (302, f"/data/{hop + 1}", b"")
    studio.routes[f"/data/{hops}"] = (200, "", IMAGE)
    if fetched:
        assert Fetcher().fetch("/data/0", Origin(studio.url)) == IMAGE
    else:
        with pytest.raises(ImageError, match="more than 3 redirects"):
            Fetcher().fetch("/data/0", Origin(studio.url))


def test_label_studio_that_moved_to_https(studio: Site) -> None:
    path = "/data/upload/1/a.png"
    studio.routes[path] = (301, f"https://127.0.0.1{path}", b"")
    with pytest.raises(ImageError, match=r"LABEL_STUDIO_URL"):
        Fetcher().fetch(path, Origin(studio.url, LEGACY))


def test_size_is_capped_everywhere(studio: Site, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(IMAGE)
    coded = base64.b64encode(IMAGE).decode()
    for uri in (
        "/data/upload/1/a.png",
        "/data/local-files/?d=a.png",
        f"data:image/png;base64,{coded}",
        f"data:image/png;base64,{coded * 100}",
    ):
        with pytest.raises(ImageError, match="more than 8 bytes"):
            Fetcher(max_bytes=8, local_files_root=tmp_path).fetch(uri, Origin(studio.url))


def test_local_files_come_over_http_without_a_root(studio: Site) -> None:
    studio.routes["/data/local-files/?d=a%20b/c.png"] = (200, "", IMAGE)
    assert Fetcher().fetch("/data/local-files/?d=a%20b/c.png", Origin(studio.url)) == IMAGE


def test_local_files_are_read_under_the_root(studio: Site, tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "c.png").write_bytes(IMAGE)
    (tmp_path / "link.png").symlink_to(tmp_path / "a b" / "c.png")
    fetcher = Fetcher(local_files_root=tmp_path)
    for uri in (
        "/data/local-files/?d=a%20b/c.png",
        "/data/local-files/?d=/a%20b/c.png",
        "/data/local-files/?d=link.png",
        "/label/data/local-files/?d=link.png",
        f"{studio.url}/data/local-files/?d=link.png",
    ):
        assert fetcher.fetch(uri, Origin(studio.url)) == IMAGE
    assert fetcher.fetch("/data/local-files/?d=link.png", None) == IMAGE
    assert studio.seen == []


@pytest.mark.parametrize("name", ["folder%5Cimg.png", "folder\\img.png", "%5Cfolder%5Cimg.png",
                                  "sub%2F..%5Cfolder%5Cimg.png"])  # fmt: skip
def test_local_files_of_a_label_studio_on_windows(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "img.png").write_bytes(IMAGE)
    fetcher = Fetcher(local_files_root=tmp_path)
    assert fetcher.fetch(f"/data/local-files/?d={name}", None) == IMAGE


def test_a_backslash_may_be_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "a\\b.png").write_bytes(IMAGE)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(b"not this")
    assert Fetcher(local_files_root=tmp_path).fetch("/data/local-files/?d=a%5Cb.png", None) == IMAGE


def test_nothing_beside_the_root_is_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(IMAGE)
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "secret").write_bytes(IMAGE)
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    fetcher = Fetcher(local_files_root=root)
    for name in (
        "../secret", "%2e%2e/secret", "../root2/secret", f"{tmp_path}/secret", "link", "loop",
        "..%5Csecret", "%5C..%5Csecret", "folder%5C..%5C..%5Csecret", "..\\root2\\secret",
        "%2e%2e%5Csecret", "folder/..%5C../secret", "C:%5Csecret", "%5C%5Chost%5Csecret",
        "pipe", "folder", "missing", "", ".", "a%00b", "x" * 5000,
    ):  # fmt: skip
        with pytest.raises(ImageError, match="LOCAL_FILES_ROOT"):
            fetcher.fetch(f"/data/local-files/?d={name}", None)


def test_local_root_does_not_serve_other_hosts(elsewhere: Site, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not this")
    elsewhere.routes["/data/local-files/?d=a.png"] = (200, "", IMAGE)
    fetcher = Fetcher(local_files_root=tmp_path, allowed_hosts=ANYWHERE_HERE)
    assert fetcher.fetch(f"{elsewhere.url}/data/local-files/?d=a.png", None) == IMAGE


def test_threads_share_a_fetcher(studio: Site) -> None:
    for number in range(20):
        studio.routes[f"/data/{number}"] = (200, "", b"%d" % number)
    fetcher, origin = Fetcher(), Origin(studio.url, PERSONAL)
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda n: fetcher.fetch(f"/data/{n}", origin), range(20)))
    assert bodies == [b"%d" % number for number in range(20)]
