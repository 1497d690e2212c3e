"""Addresses that hold the image themselves: `data:` URLs, as browsers read them.

https://fetch.spec.whatwg.org/#data-url-processor
"""

import base64
import re
from urllib.parse import unquote_to_bytes

from grounded_labeler.errors import ImageError
from grounded_labeler.images.http_response import too_large

_LINE_BREAKS = str.maketrans("", "", "\t\n\r")  # no part of a URL, wherever they stand
_BLANKS = b"\t\n\f\r "
_BASE64 = re.compile(r"; *base64\s*", re.IGNORECASE)


def read_data_url(url: str, max_bytes: int) -> bytes:
    """Read the bytes in `url`, of whatever type it says they are.

    Raises ImageError when it has no data, data that is not base64 as it says, or more than
    `max_bytes`.
    """
    # Base64 has 4 characters for 3 bytes, percent-encoding at most 3 times as many; and a few
    # for line breaks.
    if len(url) > max_bytes * 5 + 1000:
        raise ImageError(too_large(max_bytes))
    address = url.translate(_LINE_BREAKS).partition("#")[0]
    head, comma, payload = address.partition(",")
    if not comma:
        raise ImageError("The data: address of the image has no comma, after which its data is.")
    data = unquote_to_bytes(payload.encode("utf-8", "replace"))
    _, semicolon, word = head.rpartition(";")
    if _BASE64.fullmatch(semicolon + word):
        data = _decoded(data)
    if len(data) > max_bytes:
        raise ImageError(too_large(max_bytes))
    return data


def _decoded(data: bytes) -> bytes:
    """Decode base64 with or without its padding, blanks left out."""
    bare = data.translate(None, _BLANKS)
    if len(bare) % 4 == 0:
        bare = bare.removesuffix(b"=").removesuffix(b"=")
    try:
        return base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except ValueError as error:  # with binascii.Error
        raise ImageError("The data: address of the image is not valid base64.") from error
