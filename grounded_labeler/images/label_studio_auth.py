"""Which Label Studio to speak to, and how to say who asks."""

import json
import re
import threading
import time
from dataclasses import dataclass, field

from urllib3.util import Url

from grounded_labeler._text import fits_in_header
from grounded_labeler.errors import ImageError
from grounded_labeler.images.connections import TotalTimeout
from grounded_labeler.images.http_client import Client
from grounded_labeler.images.ssrf import origin_of, parse_http, redacted

NEW_TOKEN = (
    "create a personal access token under Account & Settings and set LABEL_STUDIO_API_KEY to it"
)

_UNAUTHORIZED = 401
_PERSONAL_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)  # a JWT; a legacy token is hex
_ACCESS_SECONDS = 240.0  # Label Studio 1.23 gives 300; a 401 brings a new one all the same
_MAX_ORIGINS = 256
_MAX_ACCESS_LENGTH = 8192  # they go into a header, and the service stores them


@dataclass(frozen=True)
class Origin:
    """A Label Studio this service may speak to: its address and a token for it.

    `url` is like "http://localhost:8080" and may end in a path prefix. `token` is a
    legacy token or a personal access token. `trusted` lets it have a private address:
    one that a person set may, one that came with a request may not.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    trusted: bool = True

    def parsed(self) -> Url:
        """`url` without a slash at its end; ImageError when it is not an http(s) address."""
        try:
            return parse_http(self.url.strip().rstrip("/"))
        except ImageError as error:
            raise ImageError(
                "The address of Label Studio is not usable: set LABEL_STUDIO_URL to one like "
                "http://localhost:8080."
            ) from error

    def owns(self, url: Url) -> bool:
        """Whether `url` has the scheme, host and port of this Label Studio."""
        try:
            return origin_of(url) == origin_of(self.parsed())
        except ImageError:  # images that lie elsewhere can be had all the same
            return False


class AccessTokens:
    """Makes Authorization headers; exchanges personal access tokens and keeps what they give.

    A personal access token is a JWT refresh token: Label Studio refuses it as it is
    and gives an access token for it that is good for five minutes.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._known: dict[Origin, tuple[str, float]] = {}  # access token, good until

    def header(self, origin: Origin, deadline: TotalTimeout, *, renew: bool = False) -> str | None:
        """The value of the Authorization header, None without a token.

        `renew` makes it request a new access token though the stored one should be valid.
        """
        token = (origin.token or "").strip()
        if not token:
            return None
        if not fits_in_header(token):
            raise ImageError(
                f"The token for Label Studio has characters no token has: {NEW_TOKEN}."
            )
        if not is_personal(origin):
            return f"Token {token}"
        with self._lock:
            access, until = self._known.get(origin, ("", 0.0))
        if renew or time.monotonic() >= until:
            access = self._exchange(origin, token, deadline)
            with self._lock:
                if len(self._known) >= _MAX_ORIGINS:
                    self._known.clear()
                self._known[origin] = (access, time.monotonic() + _ACCESS_SECONDS)
        return f"Bearer {access}"

    def _exchange(self, origin: Origin, token: str, deadline: TotalTimeout) -> str:
        url = parse_http(f"{origin.parsed()}/api/token/refresh/")
        body = json.dumps({"refresh": token}).encode()
        answer = self._client.send(url, deadline, trusted=origin.trusted, json_body=body)
        if answer.status == _UNAUTHORIZED:
            raise ImageError(
                f"Label Studio refused the personal access token (401), it may have expired or "
                f"been revoked: {NEW_TOKEN}."
            )
        try:
            access = json.loads(answer.body)["access"]
        except (ValueError, LookupError, TypeError):
            access = None
        if not isinstance(access, str) or not _is_access_token(access):
            raise ImageError(
                f"{redacted(url)} gave no access token (status {answer.status}): check that "
                f"LABEL_STUDIO_URL is the address of Label Studio."
            )
        return access


def _is_access_token(text: str) -> bool:
    return len(text) <= _MAX_ACCESS_LENGTH and bool(_PERSONAL_TOKEN.fullmatch(text))


def is_personal(origin: Origin) -> bool:
    """Whether the token is a personal access token, which must be exchanged before use."""
    return bool(_PERSONAL_TOKEN.fullmatch((origin.token or "").strip()))
