"""SAMs of segment-anything 1.0: the three published ones, and those of other sizes."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.state_dict import load_weights

# File names as published with segment-anything, and the architecture in each.
OFFICIAL = {
    "sam_vit_b_01ec64.pth": "vit_b",
    "sam_vit_l_0b3195.pth": "vit_l",
    "sam_vit_h_4b8939.pth": "vit_h",
}
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


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


def load_model(folder: Path) -> Sam:
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
    load_weights(model, path)
    return model


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
        if "model_type" in values:
            raise WeightsError(
                f"{path.parent} holds a {values['model_type']} in the hub's layout: expected a SAM "
                "in segment-anything's."
            )
        return SamConfig(**values | {"global_blocks": tuple(values["global_blocks"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path} does not hold the sizes of a SAM: {error!r}.") from error
