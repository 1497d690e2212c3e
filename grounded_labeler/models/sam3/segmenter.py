"""SAM 3's tracker as a segmenter of single images: SAM 2's decoder on the ViT that is shared."""

from grounded_labeler.core.types import DecodedImage
from grounded_labeler.models.detectors.detector import Options
from grounded_labeler.models.observer import Stage
from grounded_labeler.models.runtime.graph import Arrays, Graphs
from grounded_labeler.models.sam3.facts import TRACKER_NECK
from grounded_labeler.models.sam3.vision import VisionEncoder
from grounded_labeler.models.segmenters.facts import SegmenterFacts
from grounded_labeler.models.segmenters.segmenter import PromptSegmenter


class Sam3Segmenter(PromptSegmenter):
    """A Segmenter. Its features are those of the tracker's neck, whoever had them encoded."""

    def __init__(
        self, facts: SegmenterFacts, graphs: Graphs, vision: VisionEncoder, options: Options
    ) -> None:
        """`graphs` has "decoder" and what `vision`, the encoder of images, needs."""
        super().__init__(
            facts,
            graphs,
            options.compute.device,
            cache=options.cache,
            observer=options.observer,
        )
        self._vision = vision

    def _levels(self, image: DecodedImage) -> Arrays:
        features = self._vision.features([image], Stage.SEGMENT_ENCODE)
        return features[image.key].levels[TRACKER_NECK]
