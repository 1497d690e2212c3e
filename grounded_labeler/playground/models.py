"""The models that the playground asks: in this process, or those of a running service."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from grounded_labeler.core.types import DecodedImage
from grounded_labeler.core.visual_prompts import VisualPrompts
from grounded_labeler.server.inspector import (
    Inspection,
    InspectionQuery,
    Inspector,
    MaskOfObject,
    Offer,
)


@dataclass(frozen=True, eq=False)
class Picture:
    """An image file: what it is called, its bytes, and its pixels."""

    name: str
    data: bytes
    image: DecodedImage

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the displayed image in pixels."""
        height, width = self.image.pixels.shape[:2]
        return width, height


class Models(Protocol):
    """Detects and segments; all of it raises GroundedLabelerError with a sentence for people."""

    def offer(self) -> Offer:
        """Return the models to choose from."""

    def detect(self, picture: Picture, query: InspectionQuery) -> Inspection:
        """Return all candidates of an image."""

    def segment(
        self, picture: Picture, prompts: VisualPrompts, names: tuple[str, str]
    ) -> Sequence[MaskOfObject]:
        """Return a mask for each object that is marked.

        `names` are a detector's and a segmenter's: they serve together.
        """


class LocalModels:
    """The models in this process."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector

    def offer(self) -> Offer:
        return self._inspector.offer()

    def detect(self, picture: Picture, query: InspectionQuery) -> Inspection:
        return self._inspector.detect(lambda: picture.image, query)

    def segment(
        self, picture: Picture, prompts: VisualPrompts, names: tuple[str, str]
    ) -> Sequence[MaskOfObject]:
        return self._inspector.segment(lambda: picture.image, lambda _: prompts, *names)
