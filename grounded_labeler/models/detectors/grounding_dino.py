"""A Grounding DINO detector: batches, the cache of encoder outputs, less memory when it is short.

The image encoder needs no prompt and the text encoder no image, so the detector caches the
output of both. Only the fusion stage, which brings the two together, runs for every prompt.
"""

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from grounded_labeler.core.boxes import from_cxcywh
from grounded_labeler.core.passes import join
from grounded_labeler.core.types import Candidates, DecodedImage, RGBImage
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.detectors.batching import (
    ForwardPass,
    ImageFeatures,
    Item,
    holders_of,
    in_batches,
    run_what_fits,
)
from grounded_labeler.models.detectors.caption import CaptionBuilder, phrase_scores
from grounded_labeler.models.detectors.detector import GPU_BATCH, Options
from grounded_labeler.models.detectors.facts import DetectorFacts
from grounded_labeler.models.detectors.preprocess import (
    PATCH,
    halve,
    max_aspect,
    pad_to_aspect,
    pad_to_patches,
    widened_hw,
)
from grounded_labeler.models.detectors.text_inputs import TextInputs
from grounded_labeler.models.embedding import embed
from grounded_labeler.models.observer import Stage
from grounded_labeler.models.pixels import make_pixels_on
from grounded_labeler.models.runtime.graph import Array, Arrays, Graphs
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors

logger = logging.getLogger(__name__)

# A caption is padded to a multiple of so many tokens. A GPU records what it computes for each
# length apart, and what it does for padding takes it no time.
_TOKENS_AT_ONCE = {"cpu": 1, "cuda": 16}
# What a GPU records is single images: two of them in a batch take a third longer than apart, four
# a fifth less (docs/performance.md).
_LEAST_BATCH = {"cpu": 1, "cuda": 4}


class GroundingDetector:
    """A Detector made of a model's graphs, whichever runtime computes them.

    A batch holds images of one resized shape only. So nothing is padded, and the
    candidates of an image do not depend on the other images of its batch.
    """

    def __init__(
        self, facts: DetectorFacts, tokenizer: Tokenizer, graphs: Graphs, options: Options
    ) -> None:
        """`graphs` has those of `facts.GRAPHS`."""
        self.device = options.compute.device
        self.batch_size = options.batch_size or (1 if self.device == "cpu" else GPU_BATCH)
        images = facts.images
        if options.short_side is not None:
            images = images.with_short_side(options.short_side)
        self.longest = images.longest
        self._images, self._queries, self._cell_side = images, facts.queries, facts.cell_side
        self._aspect = max_aspect(images.longest, facts.queries, facts.cell_side)
        self._captions = CaptionBuilder(tokenizer, facts.max_tokens)
        self._delimiters = facts.delimiters
        self._cache, self._observer = options.cache, options.observer
        self._holders = holders_of(self._cache, graphs, self.device)
        self._graphs = graphs
        self.runtime = graphs.runtime

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
        for batch in self._batches(passes, lambda item: item.features.size_wh):
            self._run(batch, candidates)
        return [join(parts, len(texts)) for parts, texts in zip(candidates, phrases, strict=True)]

    @translate_memory_errors()
    def embed(self, images: Sequence[DecodedImage]) -> NDArray[np.float32]:
        """See Detector.embed."""
        features = self._features(images)
        return embed([self._graphs.to_numpy(features[image.key].levels[0]) for image in images])

    @translate_memory_errors()
    def prepare(self, image: RGBImage, patch: int = 1) -> Array:
        """Resize and normalise one image as the model's package does, where the models compute.

        Returns float32 (3, h, w), with zeros at the right and bottom to whole patches of that side.
        """
        with self._observer.stage(Stage.PREPARE):
            plan = self._images.plan((image.shape[0], image.shape[1]), patch)
            return make_pixels_on(self.device, image, plan)

    @translate_memory_errors()
    def encode_image(self, pixels: Array) -> Arrays:
        """Encode float32 (B, 3, h, w): one array a level, batch first.

        A tensor has whole patches already.
        """
        with self._observer.stage(Stage.ENCODE_IMAGE):
            if isinstance(pixels, np.ndarray):
                pixels = pad_to_patches(pixels)
            return self._graphs["backbone"](pixels)

    @translate_memory_errors()
    def encode_text(self, captions: Sequence[str]) -> Arrays:
        """Encode B captions, batch first: what `decode` takes of them."""
        with self._observer.stage(Stage.ENCODE_TEXT):
            text = TextInputs.of(
                captions,
                self._captions.tokenizer,
                self._delimiters,
                multiple=_TOKENS_AT_ONCE[self.device],
            )
            encoded = self._graphs["text"](text.ids, text.attention, text.positions)
            return (*encoded, text.mask, text.positions, text.attention)

    @translate_memory_errors()
    def decode(
        self, levels: Sequence[Arrays], text: Arrays
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
            batched = [self._graphs.stack(level) for level in zip(*levels, strict=True)]
            boxes, scores = self._graphs["fusion"](*batched, *text)
            return self._graphs.to_numpy(boxes), self._graphs.to_numpy(scores)

    def release(self) -> None:
        """See Detector.release."""
        self._graphs.release()

    @translate_memory_errors()
    def _encode_each(self, batch: Sequence[tuple[DecodedImage, Array]]) -> list[Arrays]:
        """Encode images of one shape: the levels of each."""
        stacked = self._graphs.stack([pixels[None] for _, pixels in batch])
        return self._graphs.split(self.encode_image(stacked))

    def _features(
        self, images: Sequence[DecodedImage], downscale_steps: int = 0
    ) -> dict[str, ImageFeatures]:
        """Give the features of each image by its key, from the cache or encoded now."""
        features: dict[str, ImageFeatures] = {}
        new: dict[str, tuple[DecodedImage, Array]] = {}
        for image in images:
            key = image.key
            if key in features or key in new:
                continue
            cached = self._cache.get(("features", key, downscale_steps))
            if cached is None:
                new[key] = (image, self._pixels(image, downscale_steps))
            else:
                features[key] = cached
        for batch in self._batches(new.values(), lambda item: item[1].shape):
            features |= self._encode(batch, downscale_steps)
        return features

    def _batches(
        self, items: Iterable[Item], shape: Callable[[Item], Hashable]
    ) -> Iterator[list[Item]]:
        return in_batches(items, shape, self.batch_size, _LEAST_BATCH[self.device])

    def _pixels(self, image: DecodedImage, downscale_steps: int) -> Array:
        wide = pad_to_aspect(image.pixels, self._aspect)
        if not downscale_steps:
            return self.prepare(wide, PATCH)
        pixels = self._graphs.to_numpy(self.prepare(wide))
        for _ in range(downscale_steps):
            pixels = halve(pixels)
        return pixels

    def _encode(
        self, batch: Sequence[tuple[DecodedImage, Array]], downscale_steps: int
    ) -> dict[str, ImageFeatures]:
        """Encode images of one shape; in smaller steps where memory is short."""
        height, width = batch[0][1].shape[1:]
        features: dict[str, ImageFeatures] = {}
        for part, encoded in run_what_fits(
            self._encode_each, batch, self._holders, f"at {width}x{height} pixels"
        ):
            if isinstance(encoded, OutOfMemory):
                features |= self._coarser(part[0][0], (width, height), downscale_steps, encoded)
                continue
            for (image, _), levels in zip(part, encoded, strict=True):
                one = ImageFeatures(levels, (width, height), downscale_steps)
                self._cache.put(("features", image.key, downscale_steps), one, one.nbytes)
                features[image.key] = one
        return features

    def _run(self, batch: Sequence[ForwardPass], candidates: list[list[Candidates]]) -> None:
        """Run one batch and add its results to `candidates`, by the passes' indices.

        In smaller steps where memory is short.
        """
        width, height = size_wh = batch[0].features.size_wh
        for part, outputs in run_what_fits(
            self._decode_each, batch, self._holders, f"at {width}x{height} pixels"
        ):
            if isinstance(outputs, OutOfMemory):
                [item] = part
                steps = item.features.downscale_steps
                coarser = self._coarser(item.image, size_wh, steps, outputs)
                self._run([replace(item, features=coarser[item.image.key])], candidates)
                continue
            for item, boxes, token_scores in zip(part, *outputs, strict=True):
                peaks, means = phrase_scores(token_scores, item.caption.tokens)
                caption = np.full(len(boxes), len(candidates[item.index]), np.intp)
                shown_hw = widened_hw(item.image.pixels.shape[:2], self._aspect)
                candidates[item.index].append(
                    Candidates(
                        from_cxcywh(boxes, (shown_hw[1], shown_hw[0])), peaks, means, caption,
                        is_coarse=item.features.downscale_steps > 0,
                    )
                )  # fmt: skip

    def _decode_each(
        self, batch: Sequence[ForwardPass]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.decode([item.features.levels for item in batch], self._text_of(batch))

    def _text_of(self, batch: Sequence[ForwardPass]) -> Arrays:
        captions = tuple(item.caption.text for item in batch)
        text = self._cache.get(("text", captions))
        if text is None:
            text = self.encode_text(captions)
            self._cache.put(("text", captions), text, sum(part.nbytes for part in text))
        return text

    def _coarser(
        self,
        image: DecodedImage,
        size_wh: tuple[int, int],
        downscale_steps: int,
        error: OutOfMemory,
    ) -> dict[str, ImageFeatures]:
        """Encode an image that did not fit at `size_wh` at half of it.

        Raises `error` where that has fewer cells than the model proposes boxes: it would fail.
        """
        half_wh, side = (size_wh[0] // 2, size_wh[1] // 2), self._cell_side
        if (half_wh[0] // side) * (half_wh[1] // side) < self._queries:
            raise error
        logger.warning(
            "Out of memory on one image at %dx%d pixels: trying %dx%d", *size_wh, *half_wh
        )
        return self._features([image], downscale_steps + 1)
