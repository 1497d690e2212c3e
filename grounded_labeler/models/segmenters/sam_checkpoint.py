"""A SAM or a MobileSAM from one file of any name: its tensors say which it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.segmenters.mobile_sam_build import build_mobile_sam
from grounded_labeler.models.state_dict import load_state, read_state

# Under these, fine-tuning scripts store the weights beside the optimizer and the like.
_WRAPPERS = ("model", "state_dict", "model_state_dict")

# In every SAM, so what a script puts before its names is what stands before this one.
_IN_ALL = "mask_decoder.iou_token.weight"
# The last axis is as long as each cell's vector, which tells the sizes apart.
_IN_VIT = "image_encoder.pos_embed"
_VIT_OF_CHANNELS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
_IN_MOBILE_SAM = "image_encoder.patch_embed.seq.0.c.weight"


def load_model(path: Path) -> Sam:
    """Load a SAM ViT-B, ViT-L or ViT-H, or a MobileSAM, in segment-anything's layout.

    Args:
        path: a file of `torch.save` or safetensors. The weights may lie in it under "model",
            "state_dict" or "model_state_dict", their names behind a prefix such as "module.".

    Raises WeightsError when the file is missing or damaged, when it holds another model, or
    when its weights do not fit exactly.
    """
    state = _unwrapped(read_state(path))
    model = _build(state)
    if model is None:
        raise WeightsError(
            f"{path} holds none of the models that can be read from one file: SAM ViT-B, ViT-L, "
            "ViT-H and MobileSAM in segment-anything's layout."
        )
    load_state(model, state, path)
    return model


def _unwrapped(content: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in _WRAPPERS:
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    ends = [str(key).removesuffix(_IN_ALL) for key in content if str(key).endswith(_IN_ALL)]
    prefix = ends[0] if len(ends) == 1 else ""
    return {str(key).removeprefix(prefix): value for key, value in content.items()}


def _build(state: Mapping[str, Any]) -> Sam | None:
    """A model of the kind that `state` holds, with weights of its own or none yet."""
    positions = state.get(_IN_VIT)
    if isinstance(positions, Tensor) and positions.shape[-1:]:
        name = _VIT_OF_CHANNELS.get(positions.shape[-1])
        if name is None:
            return None
        # Without memory of its own: `load_state` puts the file's tensors in place.
        with torch.device("meta"):
            return sam_model_registry[name]()
    return build_mobile_sam() if _IN_MOBILE_SAM in state else None
