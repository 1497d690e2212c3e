"""Who may ask the page's server for what."""

import base64

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from grounded_labeler.playground.web import Door, Login, is_loopback, is_needed

LOGIN = Login("me", "sécret")
HERE = "http://127.0.0.1:7860"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"inside"})


def client(host: str = "127.0.0.1", login: Login | None = None, at: str = HERE) -> TestClient:
    return TestClient(Door(application, host, login), base_url=at)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/config", "/theme.css", "/assets/index.js", "/static/fonts/a.woff2",
        "/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/heartbeat/x",
        "/gradio_api/file=/tmp/x/image.jpeg",
    ],
)  # fmt: skip
def test_what_the_page_needs_is_there(path: str) -> None:
    assert is_needed(path)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://example.com/x", "/gradio_api/file=http:/example.com/x",
        "/gradio_api/proxy=http://example.com", "/gradio_api/info", "/gradio_api/run/find",
        "/gradio_api/call/find", "/gradio_api/vibe-edit/", "/gradio_api/process_recording",
        "/gradio_api/file/etc/passwd", "/monitoring", "/login", "/docs", "/openapi.json",
    ],
)  # fmt: skip
def test_all_else_is_not(path: str) -> None:
    assert not is_needed(path)
    assert client().get(path).status_code == 404


def test_the_page_may_load_from_its_own_server_only() -> None:
    response = client().get("/")
    assert response.text == "inside"
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy


@pytest.mark.parametrize("at", [HERE, "http://localhost:7860", "http://[::1]:7860"])
def test_it_is_opened_by_the_names_of_this_machine(at: str) -> None:
    assert client(at=at).get("/").status_code == 200


def test_a_name_that_was_made_to_lead_here_is_refused() -> None:
    assert client(at="http://evil.example:7860").get("/").status_code == 400
    assert client("0.0.0.0", LOGIN, "http://labels.lan").get("/").status_code == 401


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8080"])
def test_other_pages_cannot_ask(origin: str) -> None:
    response = client().post("/gradio_api/queue/join", headers={"Origin": origin})
    assert response.status_code == 403
    assert client().post("/gradio_api/queue/join", headers={"Origin": HERE}).status_code == 200


def test_a_login_is_asked_for_where_one_is_set() -> None:
    with_login = client(login=LOGIN)
    assert with_login.get("/").headers["www-authenticate"].startswith("Basic ")
    for given in ("Basic !", "Basic bWU6c2VjcmV0", "Bearer x"):
        assert with_login.get("/", headers={"Authorization": given}).status_code == 401
    right = base64.b64encode("me:sécret".encode()).decode()
    assert with_login.get("/", headers={"Authorization": f"Basic {right}"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)],
)
def test_loopback_is_known(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected
