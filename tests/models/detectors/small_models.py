"""Small models with random weights, one of each family, and how the tests ask them."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import groundingdino.models.GroundingDINO.groundingdino as package
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    SwinConfig,
)

from grounded_labeler.core.types import DecodedImage, RGBImage
from grounded_labeler.models.detectors import Options, from_parts
from grounded_labeler.models.detectors.grounding_dino import GroundingDetector
from grounded_labeler.models.detectors.official_build import build_model, load_tokenizer
from grounded_labeler.models.detectors.official_config import NAMED
from grounded_labeler.models.detectors.parts import Parts
from grounded_labeler.models.runtime.graph import Array, Tensors
from tests.conftest import SAMPLES
from tools.make_groundingdino_golden import SMALL, TEXT, VOCABULARY, drawn_weights
from tools.train_demo_detector import vocabulary


@dataclass(frozen=True)
class Family:
    """What tells one family of transformers' models from another.

    Attributes:
        config_class: the class of its config.
        model_class: the class of its models.
        stages: the stages of the image encoder that make a level each, the finest first.
        has_own_heads: whether each layer of the decoder has its own heads.
    """

    config_class: type[Any]
    model_class: type[Any]
    stages: tuple[str, ...] = ("stage2", "stage3", "stage4")
    has_own_heads: bool = False


_MM = (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection)
# Of transformers; one more is the package's own. Those of MM-Grounding-DINO's published
# models, which are LLMDet's too, are the last two: tiny and base, and large.
FAMILIES = {
    "grounding-dino": Family(GroundingDinoConfig, GroundingDinoForObjectDetection),
    "mm-grounding-dino": Family(*_MM),
    "llmdet": Family(*_MM, has_own_heads=True),
    "llmdet-large": Family(*_MM, ("stage1", "stage2", "stage3", "stage4"), has_own_heads=True),
}
TINY_QUERIES = 20
# The trained one that is bundled, of the first family.
DEMO = SAMPLES.parent / "weights" / "detector"
CHECKPOINT, CONFIG = "groundingdino_swint_ogc.pth", "GroundingDINO_SwinT_OGC"


def save_tiny(folder: Path, family: str) -> Path:
    """A folder as a download would be, with the smallest model of the family that runs."""
    made = FAMILIES[family]
    own_heads = {"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False}
    backbone = SwinConfig(
        embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=list(made.stages),
    )  # fmt: skip
    text = BertConfig(
        vocab_size=1030, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=256,
    )  # fmt: skip
    config = made.config_class(
        backbone_config=backbone, text_config=text, num_queries=TINY_QUERIES, d_model=64,
        encoder_layers=1, encoder_ffn_dim=64, encoder_attention_heads=4,
        decoder_layers=3 if made.has_own_heads else 2, decoder_ffn_dim=64,
        decoder_attention_heads=4, num_feature_levels=len(made.stages) + 1,
        **(own_heads if made.has_own_heads else {}),
    )  # fmt: skip
    torch.manual_seed(5)
    model = made.model_class(config)
    for parameter in model.parameters():
        # As drawn, boxes start from zero layers: every query would answer alike.
        parameter.data += torch.randn_like(parameter) * 0.02
    model.save_pretrained(folder)
    if made.has_own_heads:
        change_weights(folder, as_published)
    BertTokenizerFast(vocab=vocabulary(), do_lower_case=True).save_pretrained(folder)
    size = {"shortest_edge": 96, "longest_edge": 160}
    GroundingDinoImageProcessor(size=size).save_pretrained(folder)
    return folder


def as_published(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the heads of all layers but the first as the published files do: the decoder's."""
    return {
        re.sub(r"^(bbox|class)_embed\.(?!0\.)", r"model.decoder.\1_embed.", name): value
        for name, value in weights.items()
    }


def change_weights(
    folder: Path, change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]
) -> None:
    """Replace the tensors in the file of a folder by what `change` makes of them."""
    file = folder / "model.safetensors"
    weights = {name: value.clone() for name, value in change(load_file(file)).items()}
    save_file(weights, file, metadata={"format": "pt"})


def cell_side(folder: Path) -> int:
    """Pixels along a side of the finest cells of the model in a folder of `save_tiny`."""
    config = json.loads((folder / "config.json").read_text())
    return 4 if "stage1" in config["backbone_config"]["out_features"] else 8


def save_vocabulary(folder: Path) -> Path:
    """The `vocab.txt` of `small_model`."""
    file = folder / "vocab.txt"
    file.write_text("".join(f"{token}\n" for token in VOCABULARY))
    return file


def small_model(vocabulary: Path) -> package.GroundingDINO:
    """The package's own model as the golden file has it."""
    tokenizer = load_tokenizer(vocabulary, len(VOCABULARY))
    text_config = BertConfig(**TEXT, attn_implementation="sdpa")
    made = build_model(NAMED[CONFIG], tokenizer, text_config, **SMALL)
    made.load_state_dict(drawn_weights(made.state_dict()))
    return made


def noise(height: int, width: int, seed: int = 0) -> RGBImage:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def images_of(images: Sequence[RGBImage]) -> list[DecodedImage]:
    return [DecodedImage.of(image) for image in images]


def with_torch(parts: Parts, short_side: int | None = None, **options: Any) -> GroundingDetector:
    """The detector that PyTorch computes from `parts`."""
    return from_parts(parts, Options(short_side=short_side, **options))


def answer(
    detector: GroundingDetector, pixels: Array, captions: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes (B, Q, 4) and token scores (B, Q, T) of float32 (B, 3, h, w) and B captions."""
    levels = detector.encode_image(pixels)
    features = [tuple(level[place : place + 1] for level in levels) for place in range(len(pixels))]
    return detector.decode(features, detector.encode_text(captions))


def cramp(
    parts: Parts, room: int, monkeypatch: pytest.MonkeyPatch, where: str = "backbone"
) -> list[tuple[int, ...]]:
    """Let a part fail for memory on more than `room` pixels; returns the shapes it is given.

    Pixels are those of the part's first input: the image itself, or its finest level.
    """
    shapes: list[tuple[int, ...]] = []
    module = parts.graphs["backbone" if where == "backbone" else "fusion"].module
    forward = module.forward

    def cramped(first: torch.Tensor, *more: torch.Tensor) -> Tensors:
        shapes.append(tuple(first.shape))
        found: Tensors = forward(first, *more)
        if first[:, 0].numel() > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return found

    monkeypatch.setattr(module, "forward", cramped)
    return shapes
