"""The reference of the benchmark on small models of random weights."""

from pathlib import Path

from groundingdino.config import GroundingDINO_SwinT_OGC
from transformers import BertConfig

from benchmarks.full_size import draw_weights
from benchmarks.reference import Reference
from grounded_labeler.models.detectors.official_build import build_model, load_tokenizer
from grounded_labeler.models.segmenters.sam_build import SamConfig, build_sam
from tools.make_groundingdino_golden import LONG_SIDE, SHORT_SIDE, SMALL, TEXT, VOCABULARY

_TINY_SAM = SamConfig(
    image_size=128, patch_size=16, encoder_dim=32, encoder_depth=1, encoder_heads=2,
    encoder_mlp_ratio=2.0, window_size=3, global_blocks=(0,), prompt_dim=32, mask_channels=8,
    decoder_depth=1, decoder_heads=2, decoder_mlp_dim=64, iou_head_dim=16,
)  # fmt: skip


def small_reference(folder: Path) -> Reference:
    """Make it; its vocabulary is written into `folder`."""
    words = folder / "vocab.txt"
    words.write_text("".join(f"{token}\n" for token in VOCABULARY))
    detector = build_model(
        GroundingDINO_SwinT_OGC,
        load_tokenizer(words, len(VOCABULARY)),
        BertConfig(**TEXT, attn_implementation="eager"),
        **SMALL,
        use_checkpoint=True,
        use_transformer_ckpt=True,
    )
    detector.load_state_dict(draw_weights(detector, lambda _: 0.3))
    segmenter = build_sam(_TINY_SAM)
    segmenter.load_state_dict(draw_weights(segmenter))
    return Reference(detector, segmenter, short_side=SHORT_SIDE, long_side=LONG_SIDE)
