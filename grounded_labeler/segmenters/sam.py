"""SAM on Meta's segment-anything 1.0, without the state of its SamPredictor."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from segment_anything import sam_model_registry
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from grounded_labeler.detectors.device_memory import translate_memory_errors
from grounded_labeler.errors import OutOfMemory, WeightsError
from grounded_labeler.segmenters.checkpoint import fill
from grounded_labeler.structures import Boxes, Masks, RGBImage

logger = logging.getLogger(__name__)

# File names as published with segment-anything, and the architecture in each.
OFFICIAL = {
    "sam_vit_b_01ec64.pth": "vit_b",
    "sam_vit_l_0b3195.pth": "vit_l",
    "sam_vit_h_4b8939.pth": "vit_h",
}
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"

# The mask decoder of the published sizes holds about 30 MB per box while it works.
_BOXES_PER_DECODE = 16
_LOGIT_BYTES = 256 * 2**20


class SamSegmenter:
    """Answers as SamPredictor does, with the image passed in instead of kept."""

    def __init__(
        self,
        model: Sam,
        device: str,
        boxes_per_decode: int = _BOXES_PER_DECODE,
        logit_bytes: int = _LOGIT_BYTES,
    ) -> None:
        """Takes over `model`, a segment_anything Sam of any size, and moves it to `device`.

        At most `boxes_per_decode` boxes are decoded together, fewer when their
        full-size logits would fill more than `logit_bytes` bytes.
        """
        self.device = device
        self._model = model.to(device).eval().requires_grad_(False)
        self._boxes_per_decode = boxes_per_decode
        self._logit_bytes = logit_bytes

    @translate_memory_errors()
    @torch.inference_mode()
    def segment(self, image: RGBImage, boxes: Boxes) -> Masks:
        """See `Segmenter.segment`. The image is encoded once, and not at all without boxes."""
        height, width = image.shape[:2]
        masks = np.zeros((len(boxes), height, width), np.bool_)
        if not len(boxes):
            return masks
        resize = ResizeLongestSide(self._model.image_encoder.img_size)
        # An image a thousand times longer than wide would lose its short side altogether.
        input_hw = [
            max(1, n) for n in resize.get_preprocess_shape(height, width, resize.target_length)
        ]
        embedding = self._encode(image, input_hw)
        corners = torch.tensor(boxes, dtype=torch.float32, device=self.device)
        corners = resize.apply_boxes_torch(corners, (height, width))
        step, start = self._chunk(height * width), 0
        while start < len(boxes):
            step = min(step, len(boxes) - start)
            chunk = slice(start, start + step)
            try:
                masks[chunk] = self._decode(embedding, corners[chunk], input_hw, (height, width))
            except OutOfMemory:
                if step == 1:
                    raise
                logger.warning(
                    "Out of memory on the masks of %d boxes (%dx%d): trying %d",
                    step, width, height, step // 2,
                )  # fmt: skip
                step //= 2
            else:
                start += step
        return masks

    @translate_memory_errors()
    def _decode(
        self, embedding: Tensor, corners: Tensor, input_hw: list[int], size_hw: tuple[int, int]
    ) -> Masks:
        """Masks, bool (N, H, W) at `size_hw`, of N boxes in pixels of the model's `input_hw`."""
        sparse, dense = self._model.prompt_encoder(points=None, boxes=corners, masks=None)
        low_res, _ = self._model.mask_decoder(
            image_embeddings=embedding,
            image_pe=self._model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        logits = self._model.postprocess_masks(low_res, input_hw, size_hw)[:, 0]
        masks: Masks = (logits > self._model.mask_threshold).cpu().numpy()
        return masks

    def _encode(self, image: RGBImage, input_hw: list[int]) -> Tensor:
        """The image embedding, float32 (1, C, h, w), of `image` resized to `input_hw`."""
        resized = Image.fromarray(image).resize(
            (input_hw[1], input_hw[0]), Image.Resampling.BILINEAR
        )
        pixels = torch.from_numpy(np.array(resized)).to(self.device)
        embedding: Tensor = self._model.image_encoder(
            self._model.preprocess(pixels.permute(2, 0, 1)[None])
        )
        return embedding

    def _chunk(self, pixels: int) -> int:
        """Boxes per decode: their logits exist at the model's square and at the image's size."""
        per_box: int = 4 * (self._model.image_encoder.img_size**2 + pixels)
        return max(1, min(self._boxes_per_decode, self._logit_bytes // per_box))


@dataclass(frozen=True)
class SamConfig:
    """Sizes of a SAM that is not one of the published three, as `config.json` holds them."""

    image_size: int
    patch_size: int
    encoder_dim: int
    encoder_depth: int
    encoder_heads: int
    encoder_mlp_ratio: float
    window_size: int
    global_blocks: tuple[int, ...]  # encoder blocks that see the whole image
    prompt_dim: int
    mask_channels: int
    decoder_depth: int
    decoder_heads: int
    decoder_mlp_dim: int
    iou_head_dim: int


def build_sam(config: SamConfig) -> Sam:
    """A SAM of these sizes with random weights."""
    side = config.image_size // config.patch_size
    return Sam(
        ImageEncoderViT(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.encoder_dim,
            depth=config.encoder_depth,
            num_heads=config.encoder_heads,
            mlp_ratio=config.encoder_mlp_ratio,
            out_chans=config.prompt_dim,
            use_rel_pos=True,
            window_size=config.window_size,
            global_attn_indexes=config.global_blocks,
        ),
        PromptEncoder(
            embed_dim=config.prompt_dim,
            image_embedding_size=(side, side),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=config.mask_channels,
        ),
        MaskDecoder(
            transformer_dim=config.prompt_dim,
            transformer=TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=config.prompt_dim,
                num_heads=config.decoder_heads,
                mlp_dim=config.decoder_mlp_dim,
            ),
            iou_head_hidden_dim=config.iou_head_dim,
        ),
    )


def load(folder: Path, device: str) -> SamSegmenter:
    """A published SAM, or one of other sizes when `folder` holds a `config.json`.

    Raises WeightsError when files are missing, damaged or do not fit.
    """
    if (folder / CONFIG_FILE).is_file():
        model = build_sam(_read_config(folder / CONFIG_FILE))
        path = folder / WEIGHTS_FILE
    else:
        path = _official_file(folder)
        # Without memory of its own: `fill` puts the file's tensors in place.
        with torch.device("meta"):
            model = sam_model_registry[OFFICIAL[path.name]]()
    fill(model, path)
    return SamSegmenter(model, device)


def _official_file(folder: Path) -> Path:
    found = [folder / name for name in OFFICIAL if (folder / name).is_file()]
    if len(found) != 1:
        raise WeightsError(
            f"{folder} must hold exactly one of {', '.join(OFFICIAL)}, "
            f"found {', '.join(path.name for path in found) or 'none'}."
        )
    return found[0]


def _read_config(path: Path) -> SamConfig:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return SamConfig(**values | {"global_blocks": tuple(values["global_blocks"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path} does not hold the sizes of a SAM: {error!r}.") from error
