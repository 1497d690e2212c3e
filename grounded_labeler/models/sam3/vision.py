"""The part of SAM 3 that both of its heads share: what is made of an image alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from grounded_labeler.core.types import DecodedImage, RGBImage
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.detectors.batching import holders_of, in_batches, run_what_fits
from grounded_labeler.models.detectors.detector import GPU_BATCH, Options
from grounded_labeler.models.detectors.preprocess import Preprocessing
from grounded_labeler.models.observer import Stage
from grounded_labeler.models.pixels import Pixels
from grounded_labeler.models.runtime.graph import Arrays, Graphs
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors
from grounded_labeler.models.sam3.facts import DETECTOR_NECK, TRACKER_NECK


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
        self._holders = holders_of(self._cache, graphs, options.compute.device)

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
        """Encode a batch; in smaller ones where memory is short."""
        run = partial(self._run, stage=stage)
        encoded: dict[str, Features] = {}
        for part, features in run_what_fits(run, batch, self._holders, "images"):
            if isinstance(features, OutOfMemory):
                raise features
            for image, one in zip(part, features, strict=True):
                self._cache.put(("features", image.key), one, one.nbytes)
                encoded[image.key] = one
        return encoded

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
