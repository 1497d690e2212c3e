"""`data:` URLs are read as browsers read them."""

import base64

import pytest

from grounded_labeler.errors import ImageError
from grounded_labeler.images.data_urls import read_data_url
from grounded_labeler.images.fetcher import Fetcher

IMAGE = b"an image\xff\x00"
CODED = base64.b64encode(IMAGE).decode()  # YW4gaW1hZ2X/AA==


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{CODED}",
        f"DATA:image/PNG;charset=utf-8;Base64,{CODED}",
        f"  data:image/png;base64,{CODED}\n",
        f"data:;base64,{CODED}",
        f"data:image/png;base64,{CODED.rstrip('=')}",
        f"data:image/png;base64,{CODED[:4]}\r\n{CODED[4:8]}\n\n\t{CODED[8:]}\n",
        f"data:image/png;base64, {CODED[:5]} {CODED[5:]}",
        f"data:image/png;base64,{CODED[:4]}%0D%0A{CODED[4:8]}%20{CODED[8:]}%0a",
        f"data:image/png;\nbase64,{CODED}",
        f"data:image/png;  base64,{CODED}",
        f"data:image/png;base64 ,{CODED}",
        f"data:text/plain;base64,{CODED}",
        f"data:application/octet-stream;base64,{CODED}",
        f"data:image/jpg;name=a.jpg;base64,{CODED}",
        f"data:image/png;base64,{CODED}#fragment",
        f"data:image/png;base64,%59{CODED[1:]}",
        f"data:image/png;base64,{CODED.replace('/', '%2F').replace('=', '%3D')}",
        "data:image/png,an%20image%FF%00",
        "data:,an image%ff%00",
    ],
)
def test_data_url(uri: str) -> None:
    assert Fetcher().fetch(uri, None) == IMAGE


@pytest.mark.parametrize(
    ("uri", "data"),
    [
        ("data:,", b""),
        ("data:;base64,", b""),
        ("data:base64,YQ==", b"YQ=="),  # a type, this way
        ("data:;base64;x=y,YQ==", b"YQ=="),
        ("data:image/svg+xml,<svg/>", b"<svg/>"),
        ("data:,\u00e4", b"\xc3\xa4"),
        ("data:;base64,YQ", b"a"),
        ("data:;base64,YWI", b"ab"),
        ("data:;base64,YR==", b"a"),  # bits left over
    ],
)
def test_other_data(uri: str, data: bytes) -> None:
    assert read_data_url(uri, 100) == data


@pytest.mark.parametrize(
    "uri",
    ["data:", "data:image/png;base64", "data:;base64,a", "data:;base64,YQ==!", "data:;base64,Y=Q=",
     "data:;base64,====", "data:;base64,YQ==YQ==", "data:;base64,_-==", "data:;base64,\ud800"],
)  # fmt: skip
def test_bad_data_url(uri: str) -> None:
    with pytest.raises(ImageError, match="data:"):
        Fetcher().fetch(uri, None)


@pytest.mark.parametrize("size", [99, 100, 101, 5000])
@pytest.mark.parametrize(
    "uri", ["data:;base64,{coded}", "data:,{percent}", "data:;base64,{percent_coded}"]
)
def test_the_size_is_capped(uri: str, size: int) -> None:
    data = b"\xfe" * size
    coded = base64.b64encode(data).decode()
    everything = {
        "coded": "\r\n".join(coded[i : i + 76] for i in range(0, len(coded), 76)),
        "percent": "%fe" * size,
        "percent_coded": "".join(f"%{ord(letter):02x}" for letter in coded),
    }
    if size <= 100:
        assert read_data_url(uri.format(**everything), 100) == data
    else:
        with pytest.raises(ImageError, match="more than 100 bytes"):
            read_data_url(uri.format(**everything), 100)
