"""What is read of an HTTP response: its body as it is, and where a redirect leads."""

import re
from urllib.parse import quote

from urllib3.response import HTTPResponse
from urllib3.util import Url

from grounded_labeler.errors import ImageError
from grounded_labeler.images.ssrf import redacted

# The codings a body can be in: https://www.iana.org/assignments/http-parameters. Storages keep
# all else that people write there, which says nothing about the bytes: "", UTF-8, aws-chunked.
_CODINGS = {"aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip",
            "x-compress", "x-gzip", "zstd"}  # fmt: skip
_ASCII = "".join(map(chr, range(128)))
_CHUNK = 64 * 1024  # bytes


def read_body(response: HTTPResponse, url: Url, max_bytes: int) -> bytes:
    """Read the body; ImageError when it is compressed or has more than `max_bytes`."""
    encoding = response.headers.get("Content-Encoding", "")
    if not _CODINGS.isdisjoint(re.findall(r"[\w-]+", encoding.lower())):
        raise ImageError(f"{redacted(url)} came compressed ({encoding[:20]}), not as it is.")
    chunks: list[bytes] = []
    size = 0
    announced = response.length_remaining or 0  # from the header, which may be missing or lie
    while max(size, announced) <= max_bytes:
        # Unlike read(), read1() does not wait until a whole chunk is there.
        chunk = response.read1(_CHUNK)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
    raise ImageError(too_large(max_bytes))


def location_of(response: HTTPResponse) -> str:
    """Read where a redirect leads, "" where it says nothing."""
    # http.client reads the bytes as Latin-1, browsers as UTF-8.
    location = response.headers.get("Location", "").encode("latin-1", "replace")
    try:
        return location.decode()
    except UnicodeDecodeError:
        return quote(location, safe=_ASCII)


def too_large(max_bytes: int) -> str:
    """The sentence for an image of more than `max_bytes`."""
    return f"The image has more than {max_bytes:,} bytes, the limit that MAX_IMAGE_BYTES sets."
