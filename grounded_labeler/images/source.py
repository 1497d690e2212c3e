"""Where the images of a project come from: their fetcher, and the cache of decoded images."""

import math
from dataclasses import dataclass
from typing import Protocol

from grounded_labeler.cache import ByteCache
from grounded_labeler.images.label_studio_auth import Origin

_STRETCHED = "-stretched"


class ImageReader(Protocol):
    """Gets the bytes of an image file, as Fetcher does; raises ImageError."""

    def fetch(
        self,
        uri: str,
        origin: Origin | None,
        task_id: int | None = None,
        time_left: float = math.inf,
    ) -> bytes: ...


@dataclass(frozen=True, eq=False)
class Source:
    """Where the images of a project come from, and the cache of decoded images.

    `origin` is its Label Studio, None when it is not known; images of more than
    `max_pixels` are refused. `stretch` has channels of more than 8 bits stretched.
    """

    fetcher: ImageReader
    origin: Origin | None
    cache: ByteCache
    max_pixels: int
    stretch: bool = False


def image_key(sha256: str, *, stretch: bool) -> str:
    """Return the key of the pixels that are made of the file with this digest."""
    return f"{sha256}{_STRETCHED}" if stretch else sha256


def file_sha256(key: str) -> str:
    """Return the digest of the file that the pixels with this key were made of."""
    return key.removesuffix(_STRETCHED)
