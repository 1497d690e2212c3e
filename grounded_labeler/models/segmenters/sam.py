"""SAM and MobileSAM on Meta's segment-anything 1.0."""

from collections.abc import Mapping

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from grounded_labeler.models.runtime.graph import SubModel, Tensors
from grounded_labeler.models.segmenters.architecture import (
    Architecture,
    embed_points,
    traced_prompts,
)
from grounded_labeler.models.segmenters.facts import CORNERS, NO_POINT, RGB, SegmenterFacts


class Encoder(nn.Module):
    """Normalised pixels, padded: float32 (1, 3, S, S), to the embedding (1, C, h, w)."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.encoder = model.image_encoder

    def forward(self, pixels: Tensor) -> Tensors:
        return (self.encoder(pixels),)


class Decoder(nn.Module):
    """An embedding and the prompts of N objects to the logits of their masks.

    See `Architecture.parts`; the logits are (N, 4, 4h, 4w).
    """

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = model.prompt_encoder, model.mask_decoder
        self.side = model.image_encoder.img_size

    def forward(
        self, embedding: Tensor, points: Tensor, kinds: Tensor, earlier: Tensor, has_earlier: Tensor
    ) -> Tensors:
        encoder = self.prompt_encoder
        none = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        dense = has_earlier * encoder.mask_downscaling(earlier) + (1 - has_earlier) * none
        sparse = embed_points(
            points,
            kinds,
            self.side,
            encode_positions=encoder.pe_layer._pe_encoding,
            no_point=encoder.not_a_point_embed.weight,
            kind_embeddings=[own.weight for own in encoder.point_embeddings],
        )
        logits, scores = self.mask_decoder.predict_masks(
            image_embeddings=embedding,
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
        )
        return logits, scores


def architecture(model: Sam) -> Architecture:
    """Take over `model`, a segment_anything Sam of any size."""
    height, width = model.prompt_encoder.mask_input_size
    facts = SegmenterFacts(
        "padded",
        model.image_encoder.img_size,
        mean=_rgb(model.pixel_mean),
        deviation=_rgb(model.pixel_std),
        grid_hw=(height, width),
        threshold=model.mask_threshold,
    )
    return Architecture(split(model.eval().requires_grad_(False)), facts)


def split(model: Sam) -> Mapping[str, SubModel]:
    """A model's two graphs: "encoder", once an image, and "decoder", for some prompts."""
    side = model.image_encoder.img_size
    encoder = Encoder(model)
    grid_hw = model.prompt_encoder.mask_input_size

    def pixels() -> Tensors:
        return (torch.randn(1, 3, side, side),)

    def prompts() -> Tensors:
        kinds = (1, 0, NO_POINT, *CORNERS)
        return (*encoder(*pixels()), *traced_prompts(side, grid_hw, kinds))

    return {
        "encoder": SubModel(encoder, pixels, fixed_shapes=True),
        "decoder": SubModel(Decoder(model), prompts),
    }


def _rgb(values: Tensor) -> RGB:
    red, green, blue = values.flatten().tolist()
    return red, green, blue
