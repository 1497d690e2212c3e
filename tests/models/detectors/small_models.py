"""Small models with random weights, one of each family, and how the tests ask them."""

from collections.abc import Sequence
from pathlib import Path

import groundingdino.models.GroundingDINO.groundingdino as package
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
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
from grounded_labeler.models.detectors.grounding_dino import GroundingDetector
from grounded_labeler.models.detectors.official_build import CONFIGS, build_model, load_tokenizer
from grounded_labeler.models.detectors.parts import Parts
from grounded_labeler.models.runtime.graph import Tensors
from tests.conftest import SAMPLES
from tools.make_groundingdino_golden import SMALL, TEXT, VOCABULARY, drawn_weights
from tools.train_demo_detector import vocabulary

# Of transformers; the third family is the package's own.
FAMILIES = {
    "grounding-dino": (GroundingDinoConfig, GroundingDinoForObjectDetection),
    "mm-grounding-dino": (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
}
TINY_QUERIES = 20
# The trained one that is bundled, of the first family.
DEMO = SAMPLES.parent / "weights" / "detector"
CHECKPOINT = "groundingdino_swint_ogc.pth"


def save_tiny(folder: Path, family: str) -> Path:
    """A folder as a download would be, with the smallest model of the family that runs."""
    config_class, model_class = FAMILIES[family]
    backbone = SwinConfig(
        embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    text = BertConfig(
        vocab_size=1030, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=256,
    )  # fmt: skip
    config = config_class(
        backbone_config=backbone, text_config=text, num_queries=TINY_QUERIES, d_model=64,
        encoder_layers=1, encoder_ffn_dim=64, encoder_attention_heads=4,
        decoder_layers=2, decoder_ffn_dim=64, decoder_attention_heads=4, num_feature_levels=4,
    )  # fmt: skip
    torch.manual_seed(5)
    model = model_class(config)
    for parameter in model.parameters():
        # As drawn, boxes start from zero layers: every query would answer alike.
        parameter.data += torch.randn_like(parameter) * 0.02
    model.save_pretrained(folder)
    BertTokenizerFast(vocab=vocabulary(), do_lower_case=True).save_pretrained(folder)
    size = {"shortest_edge": 96, "longest_edge": 160}
    GroundingDinoImageProcessor(size=size).save_pretrained(folder)
    return folder


def save_vocabulary(folder: Path) -> Path:
    """The `vocab.txt` of `small_model`."""
    file = folder / "vocab.txt"
    file.write_text("".join(f"{token}\n" for token in VOCABULARY))
    return file


def small_model(vocabulary: Path) -> package.GroundingDINO:
    """The package's own model as the golden file has it."""
    tokenizer = load_tokenizer(vocabulary, len(VOCABULARY))
    text_config = BertConfig(**TEXT, attn_implementation="sdpa")
    made = build_model(CONFIGS[CHECKPOINT], tokenizer, text_config, **SMALL)
    made.load_state_dict(drawn_weights(made.state_dict()))
    return made


def noise(height: int, width: int, seed: int = 0) -> RGBImage:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def images_of(images: Sequence[RGBImage]) -> list[DecodedImage]:
    return [DecodedImage.of(image) for image in images]


def answer(
    detector: GroundingDetector, pixels: NDArray[np.float32], captions: Sequence[str]
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
