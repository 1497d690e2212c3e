"""Serves the page, and nothing else: no other host, no file of the machine, no stranger."""

import base64
import hmac
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What the page loads and asks. Gradio has more: it fetches any address, talks to its makers'
# services, and lists its functions to strangers.
_PAGES = frozenset({"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt"})
_FOLDERS = ("/assets/", "/static/")
_CALLS = frozenset({
    "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/upload",
    "/gradio_api/upload_progress", "/gradio_api/startup-events", "/gradio_api/cancel",
    "/gradio_api/reset", "/gradio_api/app_id", "/gradio_api/app_id/",
})  # fmt: skip
_HEARTBEAT, _FILE = "/gradio_api/heartbeat/", "/gradio_api/file="

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True)
class Login:
    """The user name and the password that the page wants."""

    user: str
    password: str

    def is_given(self, authorization: str) -> bool:
        """Whether a header has this login; takes as long whatever differs."""
        kind, _, text = authorization.partition(" ")
        try:
            given = base64.b64decode(text, validate=True) if kind.lower() == "basic" else b""
        except ValueError:
            given = b""
        return hmac.compare_digest(given, f"{self.user}:{self.password}".encode())


class Door:
    """Lets through what the page needs, from where it may be asked, and says so in its headers."""

    def __init__(self, app: ASGIApp, host: str, login: Login | None) -> None:
        """Serve `app` at the address `host`, to those who give `login` if there is one."""
        self._app, self._login = app, login
        self._names = _LOOPBACK_NAMES if is_loopback(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers, path = Headers(scope=scope), scope["path"]
        # A page of another host may have its name lead here, and read what this one answers.
        host = headers.get("host", "").lower()
        if self._names is not None and _without_port(host) not in self._names:
            return PlainTextResponse("Open the page by the address it was started with.", 400)
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host:
            return PlainTextResponse("Requests of other pages are refused.", 403)
        if self._login is not None and not self._login.is_given(headers.get("authorization", "")):
            asked = {"WWW-Authenticate": 'Basic realm="grounded-labeler playground"'}
            return PlainTextResponse("User name and password required.", 401, asked)
        return None if is_needed(path) else PlainTextResponse("There is nothing here.", 404)


def is_needed(path: str) -> bool:
    """Whether the page needs a path; files are those that it made itself, never addresses."""
    if path in _PAGES or path in _CALLS or path.startswith((*_FOLDERS, _HEARTBEAT)):
        return True
    return path.startswith(_FILE) and "://" not in path and ":/" not in path


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
