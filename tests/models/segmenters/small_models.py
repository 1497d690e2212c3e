"""SAM 2 and EdgeTAM of small configurations, with random weights that leave no layer idle."""

from typing import Any

import torch
from torch import nn
from transformers import (
    EdgeTamConfig,
    EdgeTamModel,
    EdgeTamVisionConfig,
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2Model,
    Sam2VisionConfig,
    TimmWrapperConfig,
)

from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.segmenters import from_architecture, sam2
from grounded_labeler.models.segmenters.segmenter import PromptSegmenter

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE, CHANNELS = 128, 32
_LEVELS = [[32, 32], [16, 16], [8, 8]]
_PROMPTS = {"hidden_size": CHANNELS, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 8}
_DECODER = {
    "hidden_size": CHANNELS,
    "mlp_dim": 64,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 16,
}
# How much larger logits are made: random weights give small ones, all of which are unstable.
_LOGIT_SCALES = {"sam2": 160, "edgetam": 90}
FAMILIES = tuple(_LOGIT_SCALES)


def small_config(family: str) -> Sam2Config | EdgeTamConfig:
    """The configuration of a model that sees 128 x 128 pixels."""
    neck = {"fpn_hidden_size": CHANNELS, "backbone_feature_sizes": _LEVELS}
    if family == "edgetam":
        backbone = TimmWrapperConfig(
            architecture="repvit_m0_9",
            model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
        )
        vision = EdgeTamVisionConfig(backbone_config=backbone, **neck)
        return EdgeTamConfig(
            vision_config=vision, prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER
        )
    hiera = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 2, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 2, 2, 4],
        window_size_per_stage=[8, 4, 7, 7],
        global_attention_blocks=[2, 4],
    )
    vision = Sam2VisionConfig(backbone_config=hiera, backbone_channel_list=[64, 32, 16, 8], **neck)
    return Sam2Config(
        vision_config=vision, prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER
    )


def small_model(family: str) -> Sam2Model | EdgeTamModel:
    """Always the same weights for a family."""
    torch.manual_seed(3)
    config = small_config(family)
    model = randomised((EdgeTamModel if family == "edgetam" else Sam2Model)(config))
    with torch.no_grad():
        for network in model.mask_decoder.output_hypernetworks_mlps:
            network.proj_out.weight *= _LOGIT_SCALES[family]
            network.proj_out.bias *= _LOGIT_SCALES[family]
    return model


def small_segmenter(family: str, compute: Compute | None = None, **options: Any) -> PromptSegmenter:
    """A segmenter on a `small_model`, in float32 on the CPU unless said otherwise."""
    made = sam2.architecture(small_model(family), MEAN, DEVIATION)
    return from_architecture(made, compute or Compute(), **options)


def randomised(model: Any) -> Any:
    """Move every weight off its initial value: some are 0 before they are trained."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                # Values that grew from layer to layer would make rounding grow as well.
                module.load_state_dict(
                    module.state_dict() | {"running_var": torch.full_like(module.weight, 2.0)}
                )
        # The two are one tensor in published weights.
        source = model.prompt_encoder.shared_embedding.positional_embedding
        model.shared_image_embedding.positional_embedding.copy_(source)
    return model.eval()
