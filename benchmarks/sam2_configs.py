"""The published configurations of SAM 2.1 and EdgeTAM, for transformers' models of images.

SAM 2.1's are those of facebookresearch/sam2, configs/sam2.1; EdgeTAM's backbone is timm's
repvit_m1.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

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

EDGETAM = "edgetam"
# The names of the hub's repositories: blocks of each stage, those that see the whole image,
# channels and heads of the first stage, cells of the learned background of positions, and
# sides of the windows.
_HIERA: Mapping[str, tuple[list[int], list[int], int, int, int, list[int]]] = MappingProxyType(
    {
        "sam2.1-hiera-tiny": ([1, 2, 7, 2], [5, 7, 9], 96, 1, 7, [8, 4, 14, 7]),
        "sam2.1-hiera-small": ([1, 2, 11, 2], [7, 10, 13], 96, 1, 7, [8, 4, 14, 7]),
        "sam2.1-hiera-base-plus": ([2, 3, 16, 3], [12, 16, 20], 112, 2, 14, [8, 4, 14, 7]),
        "sam2.1-hiera-large": ([2, 6, 36, 4], [23, 33, 43], 144, 2, 7, [8, 4, 16, 8]),
    }
)
PUBLISHED = (*_HIERA, EDGETAM)


def published_config(name: str) -> Sam2Config | EdgeTamConfig:
    """The configuration of one of `PUBLISHED`."""
    if name == EDGETAM:
        backbone = TimmWrapperConfig(
            architecture="repvit_m1",
            model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
        )
        return EdgeTamConfig(vision_config=EdgeTamVisionConfig(backbone_config=backbone))
    blocks, whole, channels, heads, background, windows = _HIERA[name]
    stages = [channels * 2**stage for stage in range(4)]
    hiera = Sam2HieraDetConfig(
        hidden_size=channels,
        num_attention_heads=heads,
        blocks_per_stage=blocks,
        embed_dim_per_stage=stages,
        num_attention_heads_per_stage=[heads * 2**stage for stage in range(4)],
        window_size_per_stage=windows,
        global_attention_blocks=whole,
        window_positional_embedding_background_size=[background, background],
    )
    vision = Sam2VisionConfig(backbone_config=hiera, backbone_channel_list=stages[::-1])
    return Sam2Config(vision_config=vision)


def build_sam2(name: str) -> Any:  # noqa: ANN401 - transformers comes without types
    """A model of the published sizes with random weights."""
    return (EdgeTamModel if name == EDGETAM else Sam2Model)(published_config(name))
