"""MobileSAM: kornia's TinyViT as the image encoder, the rest as in SAM.

The `mobile_sam.pt` published with ChaoningZhang/MobileSAM is a plain state_dict.
Its encoder's relative position indices are not in the file: kornia computes them,
as the original does.
"""

from pathlib import Path

from kornia.models.tiny_vit import TinyViT
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from grounded_labeler.models.state_dict import load_weights

WEIGHTS_FILE = "mobile_sam.pt"


def build_mobile_sam() -> Sam:
    """MobileSAM with random weights; all but the encoder has the sizes of the published SAMs."""
    return Sam(
        TinyViT.from_config("5m", img_size=1024, mobile_sam=True),
        PromptEncoder(
            embed_dim=256,
            image_embedding_size=(64, 64),
            input_image_size=(1024, 1024),
            mask_in_chans=16,
        ),
        MaskDecoder(
            transformer_dim=256,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048),
        ),
    )


def load_model(folder: Path) -> Sam:
    """MobileSAM from `folder`/mobile_sam.pt; raises WeightsError as SAM's does."""
    model = build_mobile_sam()
    load_weights(model, folder / WEIGHTS_FILE)
    return model
