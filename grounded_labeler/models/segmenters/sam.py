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

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.types import Boxes, DecodedImage, Mask, RGBImage
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


class Encoder(nn.Module):
    """Pixels 0 to 255, padded: float32 (1, 3, S, S), to the embedding (1, C, h, w)."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.encoder = model.image_encoder

    def forward(self, pixels: Tensor) -> Tensors:
        return (self.encoder(pixels),)


class Decoder(nn.Module):
    """An embedding and boxes (N, 4) in pixels of S x S to logits (N, h, w) of their masks."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = model.prompt_encoder, model.mask_decoder

    def forward(self, embedding: Tensor, corners: Tensor) -> Tensors:
        sparse, dense = self.prompt_encoder(points=None, boxes=corners, masks=None)
        logits, _ = self.mask_decoder(
            image_embeddings=embedding,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return (logits[:, 0],)


def split(model: Sam) -> Mapping[str, SubModel]:
    """A model's two graphs: "encoder", once an image, and "decoder", for some boxes of it."""
    side = model.image_encoder.img_size
    encoder = Encoder(model)

    def pixels() -> Tensors:
        return (torch.randn(1, 3, side, side),)

    def prompts() -> Tensors:
        corners = torch.tensor([[0, 0, 0.5, 0.5], [0.2, 0.1, 0.6, 0.9], [0.5, 0, 1, 1]]) * side
        return (*encoder(*pixels()), corners)

    return {
        "encoder": SubModel(encoder, pixels, fixed_shapes=True),
        "decoder": SubModel(Decoder(model), prompts),
    }


class SamSegmenter:
    """Segments as SamPredictor does, but keeps no state: each call gets its image.

    The embedding goes into the cache: further boxes of the same image are only decoded.
    """

    def __init__(
        self,
        model: Sam,
        compute: Compute,
        *,
        exported: Path | None = None,
        cache: ByteCache | None = None,
        boxes_per_decode: int | None = None,
        observer: Observer = NO_OBSERVER,
    ) -> None:
        """Takes over `model`, a segment_anything Sam of any size; a part is used where exported.

        At most `boxes_per_decode` boxes are decoded together; None is what suits the device.
        """
        self.device = compute.device
        self._cache = ByteCache(0) if cache is None else cache
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
    def segment(self, image: DecodedImage, boxes: Boxes) -> list[Mask]:
        """See `Segmenter.segment`. The image is encoded once, and not at all without boxes."""
        if not len(boxes):
            return []
        embedding = self._cache.get(("embedding", image.key))
        if embedding is None:
            with self._observer.stage(Stage.SEGMENT_ENCODE):
                embedding = self._encode(image.pixels)
            self._cache.put(("embedding", image.key), embedding, embedding.nbytes)
        height, width = image.pixels.shape[:2]
        return self._decode(embedding, boxes, (height, width))

    def release(self) -> None:
        """See Segmenter.release."""
        self._graphs.release()

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

    def _decode(self, embedding: Tensor, boxes: Boxes, size_hw: tuple[int, int]) -> list[Mask]:
        """Decode one mask per box; `embedding` is that of an image of `size_hw`."""
        with self._observer.stage(Stage.UPSCALE):
            upscaler = Upscaler(
                self._grid_hw,
                self._resize.target_length,
                self._input_hw(size_hw),
                size_hw,
                self.device,
            )
        corners = torch.tensor(boxes, dtype=torch.float32, device=self.device)
        corners = self._resize.apply_boxes_torch(corners, size_hw)
        masks: list[Mask] = []
        step = self._boxes_per_decode
        while len(masks) < len(boxes):
            step = min(step, len(boxes) - len(masks))
            try:
                masks += self._masks(embedding, corners[len(masks) :][:step], upscaler)
            except OutOfMemory:
                self._cache.clear()  # on a GPU it holds the very memory that is short
                if step == 1:
                    raise
                logger.warning(
                    "Out of memory on the masks of %d boxes (%dx%d): trying %d",
                    step, size_hw[1], size_hw[0], step // 2,
                )  # fmt: skip
                step //= 2
        return masks

    @translate_memory_errors()
    def _masks(self, embedding: Tensor, corners: Tensor, upscaler: Upscaler) -> list[Mask]:
        """Decode the masks of N boxes, float32 (N, 4) xyxy in pixels of the model's input."""
        with self._observer.stage(Stage.SEGMENT_DECODE):
            [logits] = self._graphs["decoder"](embedding, corners)
        with self._observer.stage(Stage.UPSCALE):
            return upscaler.masks(logits, self._threshold)

    def _input_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the model's input for an image of `size_hw`."""
        height, width = self._resize.get_preprocess_shape(*size_hw, self._resize.target_length)
        # An image a thousand times longer than wide would lose its short side altogether.
        return max(1, height), max(1, width)
