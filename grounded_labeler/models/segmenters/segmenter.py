"""Masks of prompts by any model of the SAM kind, without the state of its predictor."""

import logging

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grounded_labeler.cache import ByteCache, Cache
from grounded_labeler.core.types import DecodedImage, RGBImage
from grounded_labeler.core.visual_prompts import Segment, VisualPrompts
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.observer import NO_OBSERVER, Observer, Stage
from grounded_labeler.models.pixels import PixelPlan, make_pixels_on, tables_of
from grounded_labeler.models.runtime.graph import Array, Arrays, Graphs
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors
from grounded_labeler.models.segmenters.facts import NO_POINT, SegmenterFacts
from grounded_labeler.models.segmenters.mask_upscaling import Upscaler

logger = logging.getLogger(__name__)

# The mask decoder of the published sizes holds 30 to 45 MB per box while it works. On a CPU
# more at once are no faster.
_BOXES_PER_DECODE = {"cpu": 4, "cuda": 16}


class PromptSegmenter:
    """Segments as the models' own predictors do, but keeps no state: each call gets its image.

    Its features go into the cache: other prompts of the same image are only decoded. So do
    the logits of one object that was clicked on: the next click refines them.
    """

    def __init__(
        self,
        facts: SegmenterFacts,
        graphs: Graphs,
        device: str,
        *,
        cache: Cache | None = None,
        boxes_per_decode: int | None = None,
        observer: Observer = NO_OBSERVER,
    ) -> None:
        """`graphs` has those of `facts.GRAPHS`, computed on `device`, "cpu" or "cuda".

        At most `boxes_per_decode` boxes are decoded together; None is what suits the device.
        """
        self.device = device
        self._cache = ByteCache(0) if cache is None else cache
        self._observer = observer
        self._boxes_per_decode = boxes_per_decode or _BOXES_PER_DECODE[device]
        self._facts, self._geometry, self._graphs = facts, facts.geometry, graphs
        self._tables = tables_of(facts.mean, facts.deviation)
        self.runtime = graphs.runtime

    @translate_memory_errors()
    def segment(self, image: DecodedImage, prompts: VisualPrompts) -> list[Segment]:
        """See `Segmenter.segment`. The image is encoded once, and not at all without prompts."""
        if not len(prompts):
            return []
        levels = self._levels(image)
        earlier = self._logits_before(image, prompts)
        upscaler = self._upscaler(image.pixels.shape[:2])
        segments: list[Segment] = []
        step = self._boxes_per_decode
        while len(segments) < len(prompts):
            step = min(step, len(prompts) - len(segments))
            some = prompts[len(segments) : len(segments) + step]
            try:
                logits, scores = self._decode(levels, some, earlier, image.pixels.shape[:2])
                segments += self._segments(logits, scores, upscaler)
            except OutOfMemory:
                self._cache.clear()  # on a GPU it holds the very memory that is short
                if step == 1:
                    raise
                height, width = image.pixels.shape[:2]
                logger.warning(
                    "Out of memory on the masks of %d boxes (%dx%d): trying %d",
                    step, width, height, step // 2,
                )  # fmt: skip
                step //= 2
        if prompts.points.shape[1] and len(prompts) == 1:
            self._cache.put(_logits_key(image, prompts), logits, logits.nbytes)
        return segments

    def encode(self, image: DecodedImage) -> None:
        """See `Segmenter.encode`."""
        self._levels(image)

    def release(self) -> None:
        """See `Segmenter.release`."""
        self._graphs.release()

    def _levels(self, image: DecodedImage) -> Arrays:
        """The image's features, from the cache or encoded now."""
        levels: Arrays | None = self._cache.get(("embedding", image.key))
        if levels is None:
            with self._observer.stage(Stage.SEGMENT_ENCODE):
                levels = self._encode(image.pixels)
            nbytes = sum(level.nbytes for level in levels)
            self._cache.put(("embedding", image.key), levels, nbytes)
        return levels

    def _logits_before(self, image: DecodedImage, prompts: VisualPrompts) -> "Array | None":
        """The logits (1, h, w) that the prompts before the last click gave, if they are kept."""
        before = prompts.without_last_click() if len(prompts) == 1 else None
        return None if before is None else self._cache.get(_logits_key(image, before))

    def _encode(self, image: RGBImage) -> Arrays:
        """The levels of features, float32 (1, C, h, w) each: all that is taken from the pixels."""
        return self._graphs["encoder"](self._square(image))

    def _square(self, image: RGBImage) -> Array:
        """The image as the encoder takes it, on its device: normalised, float32 (1, 3, S, S)."""
        sizes_hw = self._geometry.sizes_hw((image.shape[0], image.shape[1]))
        # Padded after normalising, with zeros, as Sam.preprocess does.
        canvas_hw = self._facts.side, self._facts.side
        plan = PixelPlan(sizes_hw, Image.Resampling.BILINEAR, self._tables, canvas_hw)
        return make_pixels_on(self.device, image, plan)[None]

    def _upscaler(self, size_hw: tuple[int, int]) -> Upscaler:
        with self._observer.stage(Stage.UPSCALE):
            return self._geometry.upscaler(self._facts.grid_hw, size_hw)

    @translate_memory_errors()
    def _decode(
        self,
        levels: Arrays,
        prompts: VisualPrompts,
        earlier: "Array | None",
        size_hw: tuple[int, int],
    ) -> tuple[Array, NDArray[np.float32]]:
        """The logits (N, h, w) of N masks on the model's grid, and the guesses at their IoU.

        The logits are copied where they are: a view would keep those of all four masks in memory.
        """
        points, kinds = self._points(prompts, size_hw)
        has_earlier = np.array([earlier is not None], np.float32)
        if earlier is None:
            earlier = np.zeros((1, *self._facts.grid_hw), np.float32)
        with self._observer.stage(Stage.SEGMENT_DECODE):
            logits, guesses = self._graphs["decoder"](
                *levels, points, kinds, earlier[:, None], has_earlier
            )
            scores = self._graphs.to_numpy(guesses)
            which = np.zeros(len(prompts), np.intp)
            if prompts.is_ambiguous:
                which = 1 + scores[:, 1:].argmax(1)
            each = np.arange(len(prompts))
            return logits[each, which], scores[each, which]

    def _points(
        self, prompts: VisualPrompts, size_hw: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What the prompts are to the decoder: points (N, P, 2) of the square, kinds (N, P)."""
        count = len(prompts)
        # The models were trained with a point that is none where there is no box.
        more = (NO_POINT,) if prompts.boxes is None else self._facts.box_kinds
        places = np.zeros((count, len(more), 2), np.float32)
        if prompts.boxes is not None:
            places[:, :2] = prompts.boxes.reshape(count, 2, 2)
        points = np.concatenate((prompts.points.astype(np.float32), places), axis=1)
        input_hw = self._geometry.input_hw(size_hw)
        for axis, (new, old) in enumerate(zip(input_hw, size_hw, strict=True)):
            points[..., 1 - axis] *= np.float32(new / old)
        of_more = np.broadcast_to(np.array(more, np.int64), (count, len(more)))
        kinds = np.concatenate((prompts.are_positive.astype(np.int64), of_more), axis=1)
        return points, kinds

    @translate_memory_errors()
    def _segments(
        self, logits: Array, scores: NDArray[np.float32], upscaler: Upscaler
    ) -> list[Segment]:
        with self._observer.stage(Stage.UPSCALE):
            masks = upscaler.masks(logits, self._facts.threshold)
        return [Segment(mask, score) for mask, score in zip(masks, scores.tolist(), strict=True)]


def _logits_key(image: DecodedImage, prompts: VisualPrompts) -> tuple[str, str, bytes]:
    return "logits", image.key, prompts.key()
