"""What must be known of a promptable segmenter beside its graphs."""

from dataclasses import dataclass
from typing import Literal

from grounded_labeler.models.segmenters.geometry import Geometry, PaddedSquare, SquashedSquare

# The graphs a segmenter runs: of an image, and of that with prompts.
GRAPHS = ("encoder", "decoder")

# Kinds of points, as the prompt encoders of SAM and SAM 2 number them; 0 is off the object
# and 1 on it.
NO_POINT = -1
CORNERS = (2, 3)

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class SegmenterFacts:
    """The numbers around the graphs of a segmenter.

    Attributes:
        fit: how an image lies in the model's square: "padded" below or to the right, its ratio
            kept, or "squashed" to fill it.
        side: S, of the square, in pixels.
        mean: of each channel, for pixels from 0 to 255.
        deviation: the standard deviation of each channel, likewise.
        grid_hw: the size of the logits.
        threshold: the logit above which a pixel belongs to the object.
        box_kinds: what follows the points of an object with a box: its corners, and what else
            the model was trained with.
    """

    fit: Literal["padded", "squashed"]
    side: int
    mean: RGB
    deviation: RGB
    grid_hw: tuple[int, int]
    threshold: float = 0.0
    box_kinds: tuple[int, ...] = CORNERS

    @property
    def geometry(self) -> Geometry:
        """Where the pixels of an image lie in the square."""
        return PaddedSquare(self.side) if self.fit == "padded" else SquashedSquare(self.side)
