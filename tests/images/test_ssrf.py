"""URLs taken apart, and which addresses may be reached."""

import ipaddress

import pytest

from grounded_labeler.errors import ImageError, SettingsError
from grounded_labeler.images.ssrf import AllowList, is_public, origin_of, parse_http, redacted


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # metadata of cloud machines
        ("100.64.0.1", False),  # carrier NAT
        ("0.0.0.0", False),  # connects to this machine
        ("224.0.0.1", False),  # multicast, which ipaddress calls global
        ("255.255.255.255", False),
        ("2606:2800:220:1::1", True),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("fec0::1", False),  # site-local, which ipaddress calls global
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("::127.0.0.1", False),  # the older way to carry an IPv4 address
        ("2002:7f00:1::", False),  # 6to4 of 127.0.0.1
        ("2001:0:7f00:1::", False),  # Teredo
        ("64:ff9b::7f00:1", False),  # NAT64 of 127.0.0.1
        ("64:ff9b::5db8:d822", True),
    ],
)
def test_is_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    ("entries", "host", "addresses", "admitted"),
    [
        ((), "example.com", ["93.184.216.34"], True),
        ((), "example.com", ["93.184.216.34", "10.0.0.1"], False),  # one private one is enough
        (("minio",), "MINIO.", ["10.0.0.1"], True),
        (("minio",), "minio.example.com", ["10.0.0.1"], False),
        (("10.0.0.0/8",), "minio", ["10.0.0.1"], True),
        (("10.0.0.0/8",), "minio", ["10.0.0.1", "192.168.0.1"], False),
        (("10.0.0.1",), "minio", ["10.0.0.1"], True),
        (("10.0.0.7/8",), "minio", ["10.0.0.1"], True),  # host bits set
        (("fd00::/8",), "minio", ["fd00::1", "93.184.216.34"], True),
        (("10.0.0.0/8",), "minio", ["fd00::1"], False),
    ],
)
def test_allow_list(
    entries: tuple[str, ...], host: str, addresses: list[str], admitted: bool
) -> None:
    found = [ipaddress.ip_address(address) for address in addresses]
    assert AllowList(entries).admits(host, found) is admitted


@pytest.mark.parametrize("entry", ["http://minio", "minio:9000", "*.example.com", "", "a b"])
def test_allow_list_names_a_bad_entry(entry: str) -> None:
    with pytest.raises(SettingsError, match="ALLOWED_HOSTS"):
        AllowList([entry])


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.com/a.png",
        "http:///a.png",
        "example.com/a.png",
        "http://user:secret@example.com/a.png",
        "http://exa mple.com/a.png",
        "http://example.com:99999/a.png",
        "http://a\r\nHost: b/",
    ],
)
def test_parse_http_refuses(address: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_http(address)
    assert "secret" not in str(caught.value)


def test_urls_of_one_site() -> None:
    assert origin_of(parse_http("HTTP://Example.com./a")) == origin_of(
        parse_http("http://example.com:80/b")
    )
    assert origin_of(parse_http("https://example.com")) != origin_of(
        parse_http("http://example.com:80")
    )


def test_shown_leaves_the_query_out() -> None:
    assert redacted(parse_http("http://a:1/b.png?signature=s")) == "http://a:1/b.png"
