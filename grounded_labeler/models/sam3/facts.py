"""What must be known of a SAM 3 beside its graphs and its tokenizer."""

from dataclasses import dataclass

from grounded_labeler.models.detectors.preprocess import Preprocessing
from grounded_labeler.models.sam3.cost import Cost
from grounded_labeler.models.segmenters.facts import SegmenterFacts

DETECTOR_NECK, TRACKER_NECK = "detector_neck", "tracker_neck"
# The graphs that each of its two uses runs.
DETECTOR = ("backbone", DETECTOR_NECK, "text", "joint")
SEGMENTER = ("backbone", TRACKER_NECK, "decoder")


@dataclass(frozen=True)
class Sam3Facts:
    """The numbers around the graphs of a SAM 3.

    Attributes:
        max_tokens: T, the longest phrase that the model reads, with both ends.
        padding_id: of the token that follows a shorter phrase.
        images: how images are squashed to the model's square and normalised.
        cost: what the model takes of a CPU.
        tracker: of the tracker, which decodes boxes and clicks; None where there is none.
    """

    max_tokens: int
    padding_id: int
    images: Preprocessing
    cost: Cost
    tracker: SegmenterFacts | None
