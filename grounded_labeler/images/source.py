"""Where the images of a project come from: their fetcher, and the cache of decoded images."""

import math
from dataclasses import dataclass
from typing import Protocol

from grounded_labeler.cache import ByteCache
from grounded_labeler.images.label_studio_auth import Origin


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
    `max_pixels` are refused.
    """

    fetcher: ImageReader
    origin: Origin | None
    cache: ByteCache
    max_pixels: int
