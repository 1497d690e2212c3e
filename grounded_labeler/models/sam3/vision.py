"""The part of SAM 3 that both of its heads share: what is made of an image alone."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from grounded_labeler.core.types import DecodedImage, RGBImage
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.detectors.batching import in_batches, in_halves
from grounded_labeler.models.detectors.detector import GPU_BATCH, Options
from grounded_labeler.models.detectors.preprocess import Preprocessing
from grounded_labeler.models.observer import Stage
from grounded_labeler.models.pixels import Pixels
from grounded_labeler.models.runtime.graph import Arrays, Graphs
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors
from grounded_labeler.models.sam3.facts import DETECTOR_NECK, TRACKER_NECK

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Features:
    """What each neck made of one image, by the name of the neck, a batch of one each."""

    levels: Mapping[str, Arrays]

    @property
    def nbytes(self) -> int:
        return sum(level.nbytes for levels in self.levels.values() for level in levels)


class VisionEncoder:
    """Encodes each image once for all heads that are loaded, and caches what they read.

    That is what the necks return: of the published model 5 MB for boxes and 21 MB for masks,
    as much as the ViT's state, which is dropped (all of its feature pyramid takes 111 MB).
    So a further phrase or click runs no neck. The necks cost 9 and 215 GFLOP beside the ViT's
    5,399, once an image, and run only for heads that are loaded.
    """

    def __init__(self, images: Preprocessing, graphs: Graphs, options: Options) -> None:
        """`graphs` has "backbone" and the necks of the heads that are loaded."""
        on_cpu = options.compute.device == "cpu"
        self.batch_size = options.batch_size or (1 if on_cpu else GPU_BATCH)
        self._images, self._graphs = images, graphs
        self._necks = [name for name in (DETECTOR_NECK, TRACKER_NECK) if name in graphs]
        self._cache, self._observer = options.cache, options.observer

    def prepare(self, image: RGBImage) -> Pixels:
        """Squash and normalise an image as the model's processor does: float32 (3, S, S)."""
        return self._images.prepare(image)

    def features(
        self, images: Sequence[DecodedImage], stage: Stage = Stage.ENCODE_IMAGE
    ) -> dict[str, Features]:
        """Return the features of each image by its key, from the cache or encoded now.

        The observer sees the encoding as `stage`. Raises OutOfMemory when one image alone
        does not fit: its size is the model's own, so a smaller one would not help.
        """
        known: dict[str, Features] = {}
        new: dict[str, DecodedImage] = {}
        for image in images:
            if image.key in known or image.key in new:
                continue
            cached = self._cache.get(("features", image.key))
            if cached is None:
                new[image.key] = image
            else:
                known[image.key] = cached
        for batch in in_batches(new.values(), lambda _: None, self.batch_size):
            known |= self._encode(batch, stage)
        return known

    def _encode(self, batch: Sequence[DecodedImage], stage: Stage) -> dict[str, Features]:
        """Encode a batch; retries in smaller ones when memory is short."""
        try:
            encoded = self._run(batch, stage)
        except OutOfMemory:
            self._cache.clear()  # on a GPU it holds the very memory that is short
            if len(batch) == 1:
                raise
            logger.warning(
                "Out of memory on a batch of %d images: trying %d", len(batch), len(batch) // 2
            )
        else:
            for image, features in zip(batch, encoded, strict=True):
                self._cache.put(("features", image.key), features, features.nbytes)
            return {image.key: one for image, one in zip(batch, encoded, strict=True)}
        # Not inside `except`: the error would keep the failed run's arrays until the end.
        return {
            key: one for half in in_halves(batch) for key, one in self._encode(half, stage).items()
        }

    @translate_memory_errors()
    def _run(self, batch: Sequence[DecodedImage], stage: Stage) -> list[Features]:
        with self._observer.stage(Stage.PREPARE):
            pixels = np.stack([self.prepare(image.pixels) for image in batch])
        with self._observer.stage(stage):
            [state] = self._graphs["backbone"](pixels)
            split = {name: self._graphs.split(self._graphs[name](state)) for name in self._necks}
        return [
            Features({name: levels[row] for name, levels in split.items()})
            for row in range(len(batch))
        ]
