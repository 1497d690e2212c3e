"""What a detector does, and how it runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.cache import ByteCache, Cache
from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.models.observer import NO_OBSERVER, Observer
from grounded_labeler.models.runtime.device import Compute

GPU_BATCH = 8  # images in a batch on a GPU; on a CPU, one


class Detector(Protocol):
    """Finds the objects that phrases name.

    `device` is "cpu" or "cuda"; `batch_size` is how many images it encodes at once; `longest` is
    the most pixels that the longer side of an image has as it sees it.
    """

    device: str
    batch_size: int
    longest: int

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        """Return all boxes and scores of each image, in order, before any threshold.

        Images may be of any sizes; `phrases[i]`, none of them empty, are the
        prompt for image i. Boxes are in pixels of the image given. No phrases, or none with a
        token, means no boxes. Raises BadRequest when a phrase is longer than the model
        can read, OutOfMemory when an image does not fit however far the
        detector downscales it.
        """
        ...

    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        """Return a unit vector for each image, float32 (N, D): those of one scene are near.

        They compare by their dot product, in [-1, 1]. They are made of the features that `detect`
        caches; an image whose features are not in the cache is encoded. Raises OutOfMemory as
        `detect` does.
        """
        ...

    def release(self) -> None:
        """Give back memory that is needed only while the detector runs; the next run is slower."""
        ...


@dataclass(frozen=True)
class Options:
    """How a detector runs.

    `batch_size` None means 1 on a CPU, where more is no faster, and 8 elsewhere.
    `short_side` is what images are resized to, in pixels, None for the model's own.
    `exported` is where `export_detector` wrote, if it did. Encoder outputs go
    into `cache`; `observer` sees the stages.
    """

    compute: Compute = field(default_factory=Compute)
    batch_size: int | None = None
    short_side: int | None = None
    exported: Path | None = None
    cache: Cache = field(default_factory=lambda: ByteCache(0))
    observer: Observer = NO_OBSERVER
