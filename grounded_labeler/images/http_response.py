"""What is read of an HTTP response: its body as it is, and where a redirect leads."""

import re
from urllib.parse import quote

import httpcore
from urllib3.util import Url

from grounded_labeler.errors import ImageError
from grounded_labeler.images.ssrf import redacted

# The codings a body can be in: https://www.iana.org/assignments/http-parameters. Storages keep
# all else that people write there, which says nothing about the bytes: "", UTF-8, aws-chunked.
_CODINGS = {"aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip",
            "x-compress", "x-gzip", "zstd"}  # fmt: skip
_ASCII = "".join(map(chr, range(128)))


def read_body(response: httpcore.Response, url: Url, max_bytes: int) -> bytes:
    """Read the body; ImageError when it is compressed or has more than `max_bytes`."""
    encoding = _header(response, b"content-encoding")
    if not _CODINGS.isdisjoint(re.findall(r"[\w-]+", encoding.lower())):
        raise ImageError(f"{redacted(url)} came compressed ({encoding[:20]}), not as it is.")
    chunks: list[bytes] = []
    size = 0
    if int(_header(response, b"content-length") or 0) > max_bytes:  # it may be missing, or lie
        raise ImageError(too_large(max_bytes))
    for chunk in response.iter_stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise ImageError(too_large(max_bytes))
    return b"".join(chunks)


def location_of(response: httpcore.Response) -> str:
    """Read where a redirect leads, "" where it says nothing."""
    location = _header(response, b"location").encode("latin-1")
    try:  # as browsers do
        return location.decode()
    except UnicodeDecodeError:
        return quote(location, safe=_ASCII)


def _header(response: httpcore.Response, name: bytes) -> str:
    """Return the header `name`, in lower case, as Latin-1; several are joined by commas."""
    values = [value for key, value in response.headers if key.lower() == name]
    return b", ".join(values).decode("latin-1")


def too_large(max_bytes: int) -> str:
    """The sentence for an image of more than `max_bytes`."""
    return f"The image has more than {max_bytes:,} bytes, the limit that MAX_IMAGE_BYTES sets."
