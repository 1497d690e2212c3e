"""SAM on Meta's segment-anything 1.0, without the state of its SamPredictor."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor, nn

from grounded_labeler.cache import ByteCache, Cache
from grounded_labeler.core.types import DecodedImage, RGBImage
from grounded_labeler.core.visual_prompts import Segment, VisualPrompts
from grounded_labeler.errors import OutOfMemory
from grounded_labeler.models.observer import NO_OBSERVER, Observer, Stage
from grounded_labeler.models.runtime.choice import make_graphs
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.graph import SubModel, Tensors, to_device
from grounded_labeler.models.runtime.out_of_memory import translate_memory_errors
from grounded_labeler.models.segmenters.mask_upscaling import Upscaler

logger = logging.getLogger(__name__)

# The mask decoder of the published sizes holds 30 to 45 MB per box while it works. On a CPU
# more at once are no faster.
_BOXES_PER_DECODE = {"cpu": 4, "cuda": 16}

# Kinds of points, as PromptEncoder numbers them; 0 is off the object and 1 on it.
_NO_POINT = -1
_CORNERS = (2, 3)


class Encoder(nn.Module):
    """Pixels 0 to 255, padded: float32 (1, 3, S, S), to the embedding (1, C, h, w)."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.encoder = model.image_encoder

    def forward(self, pixels: Tensor) -> Tensors:
        return (self.encoder(pixels),)


class Decoder(nn.Module):
    """An embedding and the prompts of N objects to the logits of their masks.

    `points` are float32 (N, P, 2) xy in pixels of S x S. `kinds` are int64 (N, P): 0 off the
    object, 1 on it, 2 and 3 the corners of a box, -1 no point. `earlier` are the logits
    (N, 1, 4h, 4w) of the prompts before, all 0 where `has_earlier`, float32 (1,), is 0.
    Returns logits (N, 4, 4h, 4w), of the single mask first and then of the three that one
    ambiguous point may mean, and the model's guesses at their IoU (N, 4).
    """

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = model.prompt_encoder, model.mask_decoder
        self.side = model.image_encoder.img_size

    def forward(
        self, embedding: Tensor, points: Tensor, kinds: Tensor, earlier: Tensor, has_earlier: Tensor
    ) -> Tensors:
        encoder = self.prompt_encoder
        none = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        dense = has_earlier * encoder.mask_downscaling(earlier) + (1 - has_earlier) * none
        logits, scores = self.mask_decoder.predict_masks(
            image_embeddings=embedding,
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=self._embed(points, kinds),
            dense_prompt_embeddings=dense,
        )
        return logits, scores

    def _embed(self, points: Tensor, kinds: Tensor) -> Tensor:
        """As PromptEncoder embeds points and boxes, by sums a graph can hold."""
        encoder, kind = self.prompt_encoder, kinds[..., None]
        embedded: Tensor = encoder.pe_layer._pe_encoding((points + 0.5) / self.side)
        embedded = embedded * (kind != _NO_POINT) + encoder.not_a_point_embed.weight * (
            kind == _NO_POINT
        )
        for number, own in enumerate(encoder.point_embeddings):
            embedded = embedded + own.weight * (kind == number)
        return embedded


def split(model: Sam) -> Mapping[str, SubModel]:
    """A model's two graphs: "encoder", once an image, and "decoder", for some prompts."""
    side = model.image_encoder.img_size
    encoder = Encoder(model)
    grid_hw = model.prompt_encoder.mask_input_size

    def pixels() -> Tensors:
        return (torch.randn(1, 3, side, side),)

    def prompts() -> Tensors:
        points = torch.rand(3, 5, 2) * side
        kinds = torch.tensor([[1, 0, -1, 2, 3]] * 3)
        return (*encoder(*pixels()), points, kinds, torch.randn(3, 1, *grid_hw), torch.ones(1))

    return {
        "encoder": SubModel(encoder, pixels, fixed_shapes=True),
        "decoder": SubModel(Decoder(model), prompts),
    }


class SamSegmenter:
    """Segments as SamPredictor does, but keeps no state: each call gets its image.

    Its embedding goes into the cache: other prompts of the same image are only decoded. So do
    the logits of one object that was clicked on: the next click refines them.
    """

    def __init__(
        self,
        model: Sam,
        compute: Compute,
        *,
        exported: Path | None = None,
        cache: Cache | None = None,
        boxes_per_decode: int | None = None,
        observer: Observer = NO_OBSERVER,
    ) -> None:
        """Takes over `model`, a segment_anything Sam of any size; a part is used where exported.

        At most `boxes_per_decode` boxes are decoded together; None is what suits the device.
        """
        self.device = compute.device
        self._cache: Cache = ByteCache(0) if cache is None else cache
        self._observer = observer
        self._boxes_per_decode = boxes_per_decode or _BOXES_PER_DECODE[compute.device]
        self._resize = ResizeLongestSide(model.image_encoder.img_size)
        self._grid_hw = model.prompt_encoder.mask_input_size
        self._threshold = model.mask_threshold
        self._mean, self._deviation = model.pixel_mean, model.pixel_std
        # Parts that OpenVINO runs need no torch module any more.
        self._graphs = make_graphs(split(model.eval().requires_grad_(False)), compute, exported)
        self.runtime = self._graphs.runtime

    @translate_memory_errors()
    @torch.inference_mode()
    def segment(self, image: DecodedImage, prompts: VisualPrompts) -> list[Segment]:
        """See `Segmenter.segment`. The image is encoded once, and not at all without prompts."""
        if not len(prompts):
            return []
        embedding = self._embedding(image)
        earlier = self._logits_before(image, prompts)
        upscaler = self._upscaler(image.pixels.shape[:2])
        segments: list[Segment] = []
        step = self._boxes_per_decode
        while len(segments) < len(prompts):
            step = min(step, len(prompts) - len(segments))
            some = prompts[len(segments) : len(segments) + step]
            try:
                logits, scores = self._decode(embedding, some, earlier, image.pixels.shape[:2])
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
        self._embedding(image)

    def release(self) -> None:
        """See `Segmenter.release`."""
        self._graphs.release()

    def _embedding(self, image: DecodedImage) -> Tensor:
        embedding: Tensor | None = self._cache.get(("embedding", image.key))
        if embedding is None:
            with self._observer.stage(Stage.SEGMENT_ENCODE):
                embedding = self._encode(image.pixels)
            self._cache.put(("embedding", image.key), embedding, embedding.nbytes)
        return embedding

    def _logits_before(self, image: DecodedImage, prompts: VisualPrompts) -> Tensor | None:
        """The logits (1, 4h, 4w) that the prompts before the last click gave, if they are kept."""
        before = prompts.without_last_click() if len(prompts) == 1 else None
        return None if before is None else self._cache.get(_logits_key(image, before))

    def _encode(self, image: RGBImage) -> Tensor:
        """The image embedding, float32 (1, C, h, w): all that is taken from the pixels."""
        height, width = image.shape[:2]
        input_hw = self._input_hw((height, width))
        resized = Image.fromarray(image).resize(input_hw[::-1], Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)
        side = self._resize.target_length
        # Padded after normalising, with zeros, as Sam.preprocess does.
        square = torch.zeros(1, 3, side, side)
        square[0, :, : input_hw[0], : input_hw[1]] = (pixels - self._mean) / self._deviation
        [embedding] = self._graphs["encoder"](to_device(square, self.device))
        return embedding

    def _upscaler(self, size_hw: tuple[int, int]) -> Upscaler:
        with self._observer.stage(Stage.UPSCALE):
            return Upscaler(
                self._grid_hw,
                self._resize.target_length,
                self._input_hw(size_hw),
                size_hw,
                self.device,
            )

    @translate_memory_errors()
    def _decode(
        self,
        embedding: Tensor,
        prompts: VisualPrompts,
        earlier: Tensor | None,
        size_hw: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """The logits (N, 4h, 4w) of N masks at the model's grid, and the guesses at their IoU."""
        count = len(prompts)
        points = torch.tensor(prompts.points, device=self.device)
        points = self._resize.apply_coords_torch(points, size_hw)
        kinds = torch.tensor(prompts.are_positive.astype(np.int64), device=self.device)
        if prompts.boxes is None:
            # SAM was trained with a point that is none where there is no box.
            more = torch.zeros(count, 1, 2, device=self.device)
            of = torch.full((count, 1), _NO_POINT, device=self.device)
        else:
            corners = torch.tensor(prompts.boxes, dtype=torch.float32, device=self.device)
            more = self._resize.apply_boxes_torch(corners, size_hw).reshape(count, 2, 2)
            of = torch.tensor([_CORNERS] * count, device=self.device)
        points, kinds = torch.cat((points, more), 1), torch.cat((kinds, of), 1)
        has_earlier = torch.full((1,), float(earlier is not None), device=self.device)
        if earlier is None:
            earlier = torch.zeros(count, *self._grid_hw, device=self.device)
        with self._observer.stage(Stage.SEGMENT_DECODE):
            logits, scores = self._graphs["decoder"](
                embedding, points, kinds, earlier[:, None], has_earlier
            )
        if not prompts.is_ambiguous:
            return logits[:, 0], scores[:, 0]
        best = 1 + scores[:, 1:].argmax(1)
        each = torch.arange(count, device=self.device)
        return logits[each, best], scores[each, best]

    @translate_memory_errors()
    def _segments(self, logits: Tensor, scores: Tensor, upscaler: Upscaler) -> list[Segment]:
        with self._observer.stage(Stage.UPSCALE):
            masks = upscaler.masks(logits, self._threshold)
        return [Segment(mask, score) for mask, score in zip(masks, scores.tolist(), strict=True)]

    def _input_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the model's input for an image of `size_hw`."""
        height, width = self._resize.get_preprocess_shape(*size_hw, self._resize.target_length)
        # An image a thousand times longer than wide would lose its short side altogether.
        return max(1, height), max(1, width)


def _logits_key(image: DecodedImage, prompts: VisualPrompts) -> tuple[str, str, bytes]:
    return "logits", image.key, prompts.key()
