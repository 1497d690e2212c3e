"""The bundled images, and what of an answer is compared between two ways to compute it."""

from typing import Any

from grounded_labeler.core.types import Boxes, Candidates, DecodedImage
from grounded_labeler.images.decode import decode
from tests.conftest import SAMPLES


def sample(name: str, truth: dict[str, Any]) -> tuple[DecodedImage, list[str]]:
    """A bundled image and the names of what is drawn in it."""
    names = [shape["name"] for shape in truth[name]["shapes"]]
    return DecodedImage.of(decode((SAMPLES / name).read_bytes())), names


def best_boxes(found: Candidates) -> Boxes:
    """The best box of each phrase, (P, 4)."""
    boxes: Boxes = found.boxes[found.peaks.argmax(axis=0)]
    return boxes
