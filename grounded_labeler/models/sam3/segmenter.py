"""SAM 3's tracker as a segmenter of single images: SAM 2's decoder on the ViT that is shared."""

from grounded_labeler.core.types import DecodedImage
from grounded_labeler.models.detectors.detector import Options
from grounded_labeler.models.observer import Stage
from grounded_labeler.models.runtime.graph import Graphs, Tensors
from grounded_labeler.models.sam3.vision import TRACKER_NECK, VisionEncoder
from grounded_labeler.models.segmenters.architecture import Architecture
from grounded_labeler.models.segmenters.segmenter import PromptSegmenter


class Sam3Segmenter(PromptSegmenter):
    """A Segmenter. Its features are those of the tracker's neck, whoever had them encoded."""

    def __init__(
        self, tracker: Architecture, graphs: Graphs, vision: VisionEncoder, options: Options
    ) -> None:
        """`graphs` computes what `vision`, the encoder of images, needs."""
        super().__init__(
            tracker,
            options.compute,
            exported=options.exported,
            cache=options.cache,
            observer=options.observer,
        )
        self._vision, self._vision_graphs = vision, graphs

    def release(self) -> None:
        """See `Segmenter.release`."""
        super().release()
        self._vision_graphs.release()

    def _levels(self, image: DecodedImage) -> Tensors:
        features = self._vision.features([image], Stage.SEGMENT_ENCODE)
        return features[image.key].levels[TRACKER_NECK]
