"""BIND and URL_PREFIX, read alike by the service and its health check."""

import pytest

from grounded_labeler.listen_address import Bind, parse_bind, parse_prefix


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1", Bind("127.0.0.1")),
        (" localhost ", Bind("localhost")),
        ("[::]", Bind("::")),
        ("::", Bind("::")),
        ("::1", Bind("::1")),
        ("[fe80::1]:8000", Bind("fe80::1", 8000)),
        ("0.0.0.0:8000", Bind("0.0.0.0", 8000)),
        ("8000", Bind(None, 8000)),
    ],
)
def test_addresses(text: str, bind: Bind) -> None:
    assert parse_bind(text) == bind


@pytest.mark.parametrize(
    "text",
    ["http://localhost", "localhost:", ":8000", "[::", "[localhost]", "[::]:0", "1.2.3.4:65536",
     "0", "unix:/run/x", "a b", "[::]8000", "localhost:\u0669", "a:b:c"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="must be an address, a port, or both"):
        parse_bind(text)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("", ""),
        ("/", ""),
        ("/labeler", "/labeler"),
        (" /a/b-c/ ", "/a/b-c"),
        ("/v1.0/~x", "/v1.0/~x"),
    ],
)
def test_prefixes(text: str, prefix: str) -> None:
    assert parse_prefix(text) == prefix


@pytest.mark.parametrize(
    "text",
    ["labeler", "http://host/labeler", "//labeler", "/a//b", "/a b", "/a?b", "/..", "/a/./b"],
)
def test_what_is_no_prefix(text: str) -> None:
    with pytest.raises(ValueError, match="must be a path like /labeler"):
        parse_prefix(text)
