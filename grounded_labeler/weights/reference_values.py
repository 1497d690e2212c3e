"""What a model should give for an image: the types of published results."""

from dataclasses import dataclass
from pathlib import Path

from grounded_labeler.weights.model import ModelFile

# What a segmenter's guess at a mask's IoU may differ by. The test suites have 0.0001 with their
# own resizer. For the demo segmenter, other resizers (nearest, box, bicubic, Lanczos) move it by
# 0.0013 at most; swapped colour channels, a wrong mean or a random layer of its image encoder by
# 0.009 and more.
SCORE_TOLERANCE = 0.005

_SAMPLES = Path(__file__).parents[1] / "demo" / "samples"
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ReferenceImage:
    """An image with published results.

    Without a `url` it comes with this package. Without a `sha256` its sum is not known: then
    only an image that the user names is taken for it.
    """

    name: str
    url: str | None = None
    bytes: int = 0
    sha256: str | None = None
    licence: str = ""

    @property
    def is_known(self) -> bool:
        return self.sha256 is not None

    @property
    def bundled(self) -> Path | None:
        return _SAMPLES / self.name if self.url is None else None

    @property
    def file(self) -> ModelFile:
        """The file to fetch; raises ValueError where there is none with a sum."""
        if self.url is None or self.sha256 is None:
            raise ValueError(f"{self.name} is not fetched")
        return ModelFile(self.name, self.url, self.bytes, self.sha256)


@dataclass(frozen=True)
class DetectorValues:
    """The detections of one image: all boxes above `threshold`, in [0, 1], for `phrases`.

    `boxes` are xyxy, in pixels, or parts of the image's sides where `in_parts`; None for a box
    of which only the score was published.
    """

    image: ReferenceImage
    phrases: tuple[str, ...]
    threshold: float
    scores: tuple[float, ...]
    boxes: tuple[Box | None, ...]
    source: str
    in_parts: bool = False


@dataclass(frozen=True)
class SegmenterValues:
    """The model's guesses at the IoU of its masks for `boxes`, xyxy in pixels of one image.

    `mask_boxes` are the tight boxes around the masks, where they are known.
    """

    image: ReferenceImage
    boxes: tuple[Box, ...]
    scores: tuple[float, ...]
    source: str
    mask_boxes: tuple[Box, ...] | None = None
    tolerance: float = SCORE_TOLERANCE
