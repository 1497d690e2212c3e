"""A Grounding DINO detector: batches, the cache of encoder outputs, less memory when it is short.

The image encoder needs no prompt and the text encoder no image, so the detector caches the
output of both. Only the fusion stage, which brings the two together, runs for every prompt.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grounded_labeler.core.boxes import from_cxcywh
from grounded_labeler.core.passes import join
from grounded_labeler.core.types import Candidates, DecodedImage, RGBImage
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.detectors.batching import (
    ForwardPass,
    ImageFeatures,
    in_batches,
    in_halves,
    split_batch,
)
from grounded_labeler.models.detectors.caption import CaptionBuilder, phrase_scores
from grounded_labeler.models.detectors.detector import GPU_BATCH, Options
from grounded_labeler.models.detectors.parts import Parts
from grounded_labeler.models.detectors.preprocess import (
    Pixels,
    halve,
    max_aspect,
    pad_to_aspect,
    pad_to_patches,
    widened_hw,
)
from grounded_labeler.models.embedding import embed
from grounded_labeler.models.observer import Stage
from grounded_labeler.models.runtime.choice import make_graphs
from grounded_labeler.models.runtime.graph import Tensors, to_device
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors
from grounded_labeler.models.runtime.unloading import UnloadableModule

logger = logging.getLogger(__name__)


class GroundingDetector:
    """A Detector made of a model's parts.

    A batch holds images of one resized shape only. So nothing is padded, and the
    candidates of an image do not depend on the other images of its batch.
    """

    def __init__(self, parts: Parts, options: Options) -> None:
        compute = options.compute
        self.device = compute.device
        self.batch_size = options.batch_size or (1 if compute.device == "cpu" else GPU_BATCH)
        self.longest = parts.longest
        self._captions = CaptionBuilder(parts.tokenizer, parts.max_tokens)
        self._queries, self._cell_side = parts.queries, parts.cell_side
        self._cache, self._observer = options.cache, options.observer
        self._aspect = max_aspect(parts.longest, parts.queries, parts.cell_side)
        self._prepare, self._encode_text = parts.prepare, parts.encode_text
        self._text = UnloadableModule(
            parts.text.eval().to(compute.device),
            # On a GPU they are no longer those of the file.
            parts.read_text_weights if compute.device == "cpu" else None,
        )
        # Parts that OpenVINO runs need no torch module any more.
        self._graphs = make_graphs(parts.graphs, compute, options.exported)
        self.runtime = self._graphs.runtime

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        """See Detector.detect."""
        captions = [self._captions.build(texts) for texts in phrases]
        prompted = [index for index, texts in enumerate(captions) if texts]
        features = self._features([images[index] for index in prompted])
        passes = [
            ForwardPass(index, images[index], features[images[index].key], caption)
            for index in prompted
            for caption in captions[index]
        ]
        candidates: list[list[Candidates]] = [[] for _ in images]
        for batch in in_batches(passes, lambda item: item.features.size_wh, self.batch_size):
            self._run(batch, candidates)
        return [join(parts, len(texts)) for parts, texts in zip(candidates, phrases, strict=True)]

    @translate_memory_errors()
    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        """See Detector.embed."""
        features = self._features(images)
        return embed([features[image.key].levels[0] for image in images])

    @translate_memory_errors()
    def prepare(self, image: RGBImage) -> Pixels:
        """Resize and normalise one image with the package's own code, on the CPU."""
        with self._observer.stage(Stage.PREPARE):
            return self._prepare(image)

    @translate_memory_errors()
    def encode_image(self, pixels: NDArray[np.float32]) -> Tensors:
        """Encode float32 (B, 3, h, w): one tensor a level, batch first."""
        with self._observer.stage(Stage.ENCODE_IMAGE):
            padded = to_device(torch.from_numpy(pad_to_patches(pixels)), self.device)
            return self._graphs["backbone"](padded)

    @translate_memory_errors()
    @torch.inference_mode()
    def encode_text(self, captions: Sequence[str]) -> Tensors:
        """Encode B captions, batch first; in float32, as it is a hundredth of the work."""
        with self._observer.stage(Stage.ENCODE_TEXT), self._text.loaded():
            return self._encode_text(captions)

    @translate_memory_errors()
    @torch.inference_mode()
    def decode(
        self, levels: Sequence[Tensors], text: Tensors
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Find the phrases of B captions in B images of one size.

        Args:
            levels: the output of `encode_image` for each image, a batch of one each.
            text: the output of `encode_text` for the captions.

        Returns:
            Boxes, float32 (B, Q, 4), cxcywh as fractions of the image, and token scores,
            float32 (B, Q, T) in [0, 1], 0 for padding.
        """
        with self._observer.stage(Stage.DECODE):
            batched = [_stack(level) for level in zip(*levels, strict=True)]
            boxes, scores = self._graphs["fusion"](*batched, *text)
            return boxes.cpu().numpy(), scores.cpu().numpy()

    def release(self) -> None:
        """See Detector.release."""
        self._text.release()
        self._graphs.release()

    def _features(
        self, images: Sequence[DecodedImage], downscale_steps: int = 0
    ) -> dict[str, ImageFeatures]:
        """Give the features of each image by its key, from the cache or encoded now."""
        features: dict[str, ImageFeatures] = {}
        new: dict[str, tuple[DecodedImage, Pixels]] = {}
        for image in images:
            key = image.key
            if key in features or key in new:
                continue
            cached = self._cache.get(("features", key, downscale_steps))
            if cached is None:
                new[key] = (image, self._pixels(image, downscale_steps))
            else:
                features[key] = cached
        for batch in in_batches(new.values(), lambda item: item[1].shape, self.batch_size):
            features |= self._encode(batch, downscale_steps)
        return features

    def _pixels(self, image: DecodedImage, downscale_steps: int) -> Pixels:
        pixels = self.prepare(pad_to_aspect(image.pixels, self._aspect))
        for _ in range(downscale_steps):
            pixels = halve(pixels)
        return pixels

    def _encode(
        self, batch: Sequence[tuple[DecodedImage, Pixels]], downscale_steps: int
    ) -> dict[str, ImageFeatures]:
        """Encode images of one shape; retries in smaller steps when memory is short."""
        height, width = batch[0][1].shape[1:]
        try:
            encoded = split_batch(self.encode_image(np.stack([pixels for _, pixels in batch])))
        except MemoryError as error:  # OutOfMemory, or numpy's own from stacking
            if not self._can_retry(len(batch), (width, height)):
                raise OutOfMemory(str(error)) from error
        else:
            features = {}
            for (image, _), levels in zip(batch, encoded, strict=True):
                one = ImageFeatures(levels, (width, height), downscale_steps)
                self._cache.put(("features", image.key, downscale_steps), one, one.nbytes)
                features[image.key] = one
            return features
        # Not inside `except`: the error would keep the failed run's arrays until the end.
        if len(batch) == 1:
            return self._features([batch[0][0]], downscale_steps + 1)
        return {
            key: one
            for half in in_halves(batch)
            for key, one in self._encode(half, downscale_steps).items()
        }

    def _run(self, batch: Sequence[ForwardPass], candidates: list[list[Candidates]]) -> None:
        """Run one batch and add its results to `candidates`, by the passes' indices.

        Retries in smaller steps when memory is short.
        """
        try:
            levels = [item.features.levels for item in batch]
            outputs = self.decode(levels, self._text_of(batch))
        except MemoryError as error:
            if not self._can_retry(len(batch), batch[0].features.size_wh):
                raise OutOfMemory(str(error)) from error
        else:
            for item, boxes, token_scores in zip(batch, *outputs, strict=True):
                peaks, means = phrase_scores(token_scores, item.caption.tokens)
                caption = np.full(len(boxes), len(candidates[item.index]), np.intp)
                height, width = widened_hw(item.image.pixels.shape[:2], self._aspect)
                candidates[item.index].append(
                    Candidates(
                        from_cxcywh(boxes, (width, height)), peaks, means, caption,
                        is_coarse=item.features.downscale_steps > 0,
                    )
                )  # fmt: skip
            return
        if len(batch) == 1:
            [item] = batch
            coarser = self._features([item.image], item.features.downscale_steps + 1)
            self._run([replace(item, features=coarser[item.image.key])], candidates)
        else:
            for half in in_halves(batch):
                self._run(half, candidates)

    def _text_of(self, batch: Sequence[ForwardPass]) -> Tensors:
        captions = tuple(item.caption.text for item in batch)
        text = self._cache.get(("text", captions))
        if text is None:
            text = self.encode_text(captions)
            self._cache.put(("text", captions), text, sum(part.nbytes for part in text))
        return text

    def _can_retry(self, count: int, size_wh: tuple[int, int]) -> bool:
        """Tell whether a batch of `count` that did not fit can be halved, or its image downscaled.

        An image with fewer cells than the model proposes boxes makes the model fail.
        """
        self._cache.clear()  # on a GPU it holds the very memory that is short
        width, height = size_wh
        if count > 1:
            logger.warning(
                "Out of memory on a batch of %d at %dx%d pixels: trying %d, then %d",
                count, width, height, count // 2, count - count // 2,
            )  # fmt: skip
            return True
        half_wh, side = (width // 2, height // 2), self._cell_side
        if (half_wh[0] // side) * (half_wh[1] // side) < self._queries:
            return False
        logger.warning(
            "Out of memory on one image at %dx%d pixels: trying %dx%d", width, height, *half_wh
        )
        return True


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
