"""Masks of prompts by any model of the SAM kind, without the state of its predictor."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from grounded_labeler.cache import ByteCache, Cache
from grounded_labeler.core.types import DecodedImage, RGBImage
from grounded_labeler.core.visual_prompts import Segment, VisualPrompts
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.observer import NO_OBSERVER, Observer, Stage
from grounded_labeler.models.runtime.choice import make_graphs
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.graph import Tensors, to_device
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors
from grounded_labeler.models.segmenters.architecture import NO_POINT, Architecture
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
        architecture: Architecture,
        compute: Compute,
        *,
        exported: Path | None = None,
        cache: Cache | None = None,
        boxes_per_decode: int | None = None,
        observer: Observer = NO_OBSERVER,
    ) -> None:
        """Take over the parts of `architecture`; the graphs of `exported` are used where they fit.

        At most `boxes_per_decode` boxes are decoded together; None is what suits the device.
        """
        self.device = compute.device
        self._cache = ByteCache(0) if cache is None else cache
        self._observer = observer
        self._boxes_per_decode = boxes_per_decode or _BOXES_PER_DECODE[compute.device]
        self._geometry = architecture.geometry
        self._grid_hw, self._threshold = architecture.grid_hw, architecture.threshold
        self._box_kinds = architecture.box_kinds
        self._mean, self._deviation = (
            torch.tensor(values)[:, None, None]
            for values in (architecture.mean, architecture.deviation)
        )
        # Parts that OpenVINO runs need no torch module any more.
        self._graphs = make_graphs(architecture.parts, compute, exported)
        self.runtime = self._graphs.runtime

    @translate_memory_errors()
    @torch.inference_mode()
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
            kept = logits.clone()  # a view would keep the logits of all four masks in memory
            self._cache.put(_logits_key(image, prompts), kept, kept.nbytes)
        return segments

    def encode(self, image: DecodedImage) -> None:
        """See `Segmenter.encode`."""
        self._levels(image)

    def release(self) -> None:
        """See `Segmenter.release`."""
        self._graphs.release()

    def _levels(self, image: DecodedImage) -> Tensors:
        """The image's features, from the cache or encoded now."""
        levels: Tensors | None = self._cache.get(("embedding", image.key))
        if levels is None:
            with self._observer.stage(Stage.SEGMENT_ENCODE):
                levels = self._encode(image.pixels)
            nbytes = sum(level.nbytes for level in levels)
            self._cache.put(("embedding", image.key), levels, nbytes)
        return levels

    def _logits_before(self, image: DecodedImage, prompts: VisualPrompts) -> Tensor | None:
        """The logits (1, h, w) that the prompts before the last click gave, if they are kept."""
        before = prompts.without_last_click() if len(prompts) == 1 else None
        return None if before is None else self._cache.get(_logits_key(image, before))

    def _encode(self, image: RGBImage) -> Tensors:
        """The levels of features, float32 (1, C, h, w) each: all that is taken from the pixels."""
        pixels = self._geometry.resize(image)
        height, width = pixels.shape[1:]
        side = self._geometry.side
        # Padded after normalising, with zeros, as Sam.preprocess does.
        square = torch.zeros(1, 3, side, side)
        square[0, :, :height, :width] = (pixels - self._mean) / self._deviation
        return self._graphs["encoder"](to_device(square, self.device))

    def _upscaler(self, size_hw: tuple[int, int]) -> Upscaler:
        with self._observer.stage(Stage.UPSCALE):
            return self._geometry.upscaler(self._grid_hw, size_hw, self.device)

    @translate_memory_errors()
    def _decode(
        self,
        levels: Tensors,
        prompts: VisualPrompts,
        earlier: Tensor | None,
        size_hw: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """The logits (N, h, w) of N masks on the model's grid, and the guesses at their IoU."""
        points, kinds = self._points(prompts, size_hw)
        count = len(prompts)
        has_earlier = torch.full((1,), float(earlier is not None), device=self.device)
        if earlier is None:
            earlier = torch.zeros(count, *self._grid_hw, device=self.device)
        with self._observer.stage(Stage.SEGMENT_DECODE):
            logits, scores = self._graphs["decoder"](
                *levels, points, kinds, earlier[:, None], has_earlier
            )
        if not prompts.is_ambiguous:
            return logits[:, 0], scores[:, 0]
        best = 1 + scores[:, 1:].argmax(1)
        each = torch.arange(count, device=self.device)
        return logits[each, best], scores[each, best]

    def _points(self, prompts: VisualPrompts, size_hw: tuple[int, int]) -> Tensors:
        """What the prompts are to the decoder: points (N, P, 2) of the square, kinds (N, P)."""
        count = len(prompts)
        points = torch.tensor(prompts.points)
        kinds = torch.tensor(prompts.are_positive.astype(np.int64))
        # The models were trained with a point that is none where there is no box.
        more = (NO_POINT,) if prompts.boxes is None else self._box_kinds
        places = torch.zeros(count, len(more), 2)
        if prompts.boxes is not None:
            corners = torch.tensor(prompts.boxes, dtype=torch.float32)
            places[:, :2] = corners.reshape(count, 2, 2)
        points = torch.cat((points, places), 1)
        input_hw = self._geometry.input_hw(size_hw)
        for axis, (new, old) in enumerate(zip(input_hw, size_hw, strict=True)):
            points[..., 1 - axis] *= new / old
        kinds = torch.cat((kinds, torch.tensor([more] * count)), 1)
        return to_device(points, self.device), to_device(kinds, self.device)

    @translate_memory_errors()
    def _segments(self, logits: Tensor, scores: Tensor, upscaler: Upscaler) -> list[Segment]:
        with self._observer.stage(Stage.UPSCALE):
            masks = upscaler.masks(logits, self._threshold)
        return [Segment(mask, score) for mask, score in zip(masks, scores.tolist(), strict=True)]


def _logits_key(image: DecodedImage, prompts: VisualPrompts) -> tuple[str, str, bytes]:
    return "logits", image.key, prompts.key()
