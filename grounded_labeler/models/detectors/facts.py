"""What must be known of a Grounding DINO beside its graphs and its tokenizer."""

from dataclasses import dataclass

from grounded_labeler.models.detectors.preprocess import Preprocessing

# The graphs a detector runs: of images, of captions, and of both together.
GRAPHS = ("backbone", "text", "fusion")


@dataclass(frozen=True)
class DetectorFacts:
    """The numbers around the graphs of a detector.

    Attributes:
        max_tokens: the longest caption the model reads, [CLS] and [SEP] counted.
        queries: the number Q of boxes the model proposes for each image.
        cell_side: pixels along a side of the cells of the finest level: 8, in the large models 4.
        delimiters: the ids of the tokens between which a phrase lies.
        images: how images are resized and normalised.
    """

    max_tokens: int
    queries: int
    cell_side: int
    delimiters: tuple[int, ...]
    images: Preprocessing
