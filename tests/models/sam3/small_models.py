"""A SAM 3 with random weights and the layout of the published one, small enough for tests."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTokenizer,
    PreTrainedModel,
    Sam3ImageProcessor,
    Sam3Model,
    Sam3Processor,
    Sam3VideoConfig,
    Sam3VideoModel,
)

SIDE = 112  # pixels; the published model takes 1008
GRID = SIDE // 14
QUERIES = 12
MAX_TOKENS = 32  # with both ends, as the published model
WIDTH = 32


def save_small(folder: Path) -> Path:
    """Write detector and tracker as the hub's folder holds them: model_type `sam3_video`."""
    torch.manual_seed(7)
    model = _random(Sam3VideoModel(_config()))
    model.config.save_pretrained(folder)
    # As published. transformers 5.23 itself would write `tracker_model.` twice before the
    # names of the tracker.
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    return save_processor(folder)


def save_detector_alone(folder: Path) -> Path:
    """Write the detector without a tracker: model_type `sam3`."""
    torch.manual_seed(7)
    model = _random(Sam3Model(_config().detector_config))
    model.save_pretrained(folder)
    return save_processor(folder)


def save_processor(folder: Path) -> Path:
    """Write tokenizer and image processor: every byte is a token, and there are no merges."""
    letters = sorted(ByteLevel.alphabet())
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    tokenizer = CLIPTokenizer(vocab={token: number for number, token in enumerate(tokens)})
    sides = {"height": SIDE, "width": SIDE}
    images = Sam3ImageProcessor(size=sides, mask_size={"height": 4 * GRID, "width": 4 * GRID})
    Sam3Processor(images, tokenizer).save_pretrained(folder)
    return folder


def _random(model: PreTrainedModel) -> PreTrainedModel:
    """Add noise to all weights: as built, many are zero and all queries find the same box."""
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    return model.eval()


def _config() -> Sam3VideoConfig:
    attention = {"num_attention_heads": 4, "hidden_size": WIDTH}
    vision = {
        "backbone_config": {
            "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": SIDE,
            "pretrain_image_size": SIDE // 2, "window_size": 3, "global_attn_indexes": [1],
        },
        "fpn_hidden_size": WIDTH,
        "backbone_feature_sizes": [[4 * GRID] * 2, [2 * GRID] * 2, [GRID] * 2],
    }  # fmt: skip
    text = {
        "model_type": "clip_text_model", "vocab_size": 514, "hidden_size": 24,
        "intermediate_size": 32, "projection_dim": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": MAX_TOKENS, "hidden_act": "gelu",
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
    }  # fmt: skip
    layers = {**attention, "num_layers": 2, "intermediate_size": 48}
    detector = {
        "model_type": "sam3", "vision_config": vision, "text_config": text,
        "geometry_encoder_config": layers, "detr_encoder_config": layers,
        "detr_decoder_config": {**layers, "num_queries": QUERIES},
        "mask_decoder_config": attention,
    }  # fmt: skip
    tracker = {
        "model_type": "sam3_tracker_video", "image_size": SIDE,
        "vision_config": {"model_type": "sam3_vision_model", **vision},
        "prompt_encoder_config": {"hidden_size": WIDTH, "image_size": SIDE},
        "mask_decoder_config": {
            **attention, "mlp_dim": 48, "iou_head_hidden_dim": WIDTH,
        },
        "memory_attention_hidden_size": WIDTH, "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 48,
        "memory_encoder_hidden_size": WIDTH, "memory_encoder_output_channels": 16,
        "mask_downsampler_embed_dim": WIDTH, "memory_fuser_num_layers": 1,
        "memory_fuser_embed_dim": WIDTH, "memory_fuser_intermediate_dim": 48,
    }  # fmt: skip
    return Sam3VideoConfig(detector_config=detector, tracker_config=tracker)
