import json
import time
from collections.abc import Iterator, Mapping

import pytest
from urllib3.util import Url

from grounded_labeler.errors import ImageError
from grounded_labeler.images.connections import TotalTimeout
from grounded_labeler.images.http_client import Client, HttpResponse
from grounded_labeler.images.label_studio_auth import AccessTokens, Origin, is_personal
from grounded_labeler.images.ssrf import parse_http

LEGACY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"
HOME = "http://studio.example:8080"


class Exchange(Client):
    """Answers token exchanges with `answers`, or else with access tokens a.b.1, a.b.2, ..."""

    def __init__(self, *answers: HttpResponse) -> None:
        super().__init__(allowed_hosts=(), max_bytes=1000, connect_timeout=1, read_timeout=1)
        self.answers = list(answers)
        self.asked: list[tuple[str, bytes | None, bool]] = []

    def send(
        self,
        url: Url,
        deadline: TotalTimeout,
        *,
        trusted: bool = False,
        headers: Mapping[str, str] | None = None,
        json_body: bytes | None = None,
    ) -> HttpResponse:
        self.asked.append((str(url), json_body, trusted))
        fresh = json.dumps({"access": f"a.b.{len(self.asked)}"}).encode()
        return self.answers.pop(0) if self.answers else HttpResponse(200, "", fresh)


@pytest.fixture
def deadline() -> Iterator[TotalTimeout]:
    with TotalTimeout(10) as running:
        yield running


def test_token_is_not_in_the_repr() -> None:
    assert LEGACY not in repr(Origin(HOME, LEGACY))


@pytest.mark.parametrize(
    ("home", "address", "owned"),
    [
        (HOME, f"{HOME}/data/upload/1/a.png", True),
        (f"{HOME}/", f"{HOME}/data/upload/1/a.png", True),
        ("https://Studio.example", "https://studio.example:443/a", True),
        (HOME, "https://studio.example:8080/a", False),
        (HOME, "http://studio.example/a", False),
        (HOME, "http://studio.example.evil.example:8080/a", False),
        ("studio:8080", "http://studio:8080/a", False),  # no scheme, so not usable
        ("", "http://studio:8080/a", False),
    ],
)
def test_owns(home: str, address: str, owned: bool) -> None:
    assert Origin(home).owns(parse_http(address)) is owned


@pytest.mark.parametrize("home", ["", "studio:8080", "ftp://studio", "http://a b/"])
def test_unusable_address_says_what_to_set(home: str) -> None:
    with pytest.raises(ImageError, match="LABEL_STUDIO_URL"):
        Origin(home).parsed()


@pytest.mark.parametrize(
    ("token", "personal"),
    [(None, False), ("", False), (LEGACY, False), (PERSONAL, True), (f" {PERSONAL}\n", True)],
)
def test_is_personal(token: str | None, personal: bool) -> None:
    assert is_personal(Origin(HOME, token)) is personal


@pytest.mark.parametrize(
    ("token", "header"),
    [(None, None), ("", None), (LEGACY, f"Token {LEGACY}"), (f"{LEGACY}\n", f"Token {LEGACY}")],
)
def test_tokens_sent_as_they_are(
    deadline: TotalTimeout, token: str | None, header: str | None
) -> None:
    client = Exchange()
    assert AccessTokens(client).header(Origin(HOME, token), deadline) == header
    assert client.asked == []


@pytest.mark.parametrize("token", ["two words", "line\r\nX-Evil: 1", "schlüssel"])
def test_token_that_cannot_be_one(deadline: TotalTimeout, token: str) -> None:
    with pytest.raises(ImageError, match="LABEL_STUDIO_API_KEY") as caught:
        AccessTokens(Exchange()).header(Origin(HOME, token), deadline)
    assert token not in str(caught.value)


def test_personal_token_is_exchanged_once(deadline: TotalTimeout) -> None:
    client = Exchange()
    tokens = AccessTokens(client)
    for _ in range(2):
        assert tokens.header(Origin(f"{HOME}/prefix/", PERSONAL), deadline) == "Bearer a.b.1"
    body = json.dumps({"refresh": PERSONAL}).encode()
    assert client.asked == [(f"{HOME}/prefix/api/token/refresh/", body, True)]


def test_each_origin_and_token_has_its_own(deadline: TotalTimeout) -> None:
    tokens = AccessTokens(Exchange())
    origins = [Origin(HOME, PERSONAL), Origin("http://other", PERSONAL), Origin(HOME, "x.y.z")]
    headers = [tokens.header(origin, deadline) for origin in origins]
    assert headers == ["Bearer a.b.1", "Bearer a.b.2", "Bearer a.b.3"]


def test_renewed_on_demand_and_with_time(
    deadline: TotalTimeout, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, origin = AccessTokens(Exchange()), Origin(HOME, PERSONAL)
    assert tokens.header(origin, deadline) == "Bearer a.b.1"
    assert tokens.header(origin, deadline, renew=True) == "Bearer a.b.2"
    assert tokens.header(origin, deadline) == "Bearer a.b.2"
    later = time.monotonic() + 241
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert tokens.header(origin, deadline) == "Bearer a.b.3"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (HttpResponse(401, "", b""), "refused the personal access token"),
        (HttpResponse(404, "", b""), "LABEL_STUDIO_URL"),
        (HttpResponse(301, "https://elsewhere", b""), "LABEL_STUDIO_URL"),
        (HttpResponse(200, "", b"<html>"), "LABEL_STUDIO_URL"),
        (HttpResponse(200, "", b"[]"), "LABEL_STUDIO_URL"),
        (HttpResponse(200, "", b'{"access": null}'), "LABEL_STUDIO_URL"),
        (HttpResponse(200, "", b'{"access": "a.b.c\\r\\nX-Evil: 1"}'), "LABEL_STUDIO_URL"),
    ],
)
def test_failed_exchange(deadline: TotalTimeout, answer: HttpResponse, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        AccessTokens(Exchange(answer)).header(Origin(HOME, PERSONAL), deadline)
    assert PERSONAL not in str(caught.value)
