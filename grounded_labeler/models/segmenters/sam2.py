"""SAM 2.1 and EdgeTAM on transformers: one image, prompts decoded from three levels of features.

What follows the image encoder is the same network in transformers' Sam2Model, EdgeTamModel
and Sam3TrackerModel, under the same names.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from grounded_labeler.models.runtime.graph import SubModel, Tensors
from grounded_labeler.models.segmenters.architecture import (
    Architecture,
    embed_points,
    traced_prompts,
)
from grounded_labeler.models.segmenters.facts import CORNERS, NO_POINT, RGB, SegmenterFacts

# transformers comes without types.
PromptableModel = Any

# SAM 2's own SAM2ImagePredictor hands logits on to the next click between these.
_LARGEST_LOGIT = 32.0


class Encoder(nn.Module):
    """Normalised pixels, float32 (1, 3, S, S), to three levels of features.

    They are (1, C/8, S/4, S/4), (1, C/4, S/8, S/8) and (1, C, S/16, S/16) in SAM 2; the first
    two add detail to masks.
    """

    def __init__(self, model: PromptableModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensors:
        return tuple(level.contiguous() for level in self.model.get_image_embeddings(pixels))


class Decoder(nn.Module):
    """Three levels of features and the prompts of N objects to the logits of their masks.

    See `Architecture.parts`. The single mask is the best of the other three where the model
    finds it unstable, if its config says so.
    """

    positions: Tensor

    def __init__(self, model: PromptableModel) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = model.prompt_encoder, model.mask_decoder
        self.side: int = model.prompt_encoder.input_image_size
        # Computed here, in float32: 16 bits would move the image against the points.
        positions = model.get_image_wide_positional_embeddings().detach()
        self.register_buffer("positions", positions, persistent=False)
        _give_all_masks(self.mask_decoder)

    def forward(  # noqa: PLR0917 - a graph's inputs have an order and no names
        self,
        fine: Tensor,
        middle: Tensor,
        coarse: Tensor,
        points: Tensor,
        kinds: Tensor,
        earlier: Tensor,
        has_earlier: Tensor,
    ) -> Tensors:
        encoder = self.prompt_encoder
        sparse = embed_points(
            points,
            kinds,
            self.side,
            encode_positions=encoder.shared_embedding,
            no_point=encoder.not_a_point_embed.weight,
            kind_embeddings=encoder.point_embed.weight.unbind(),
        )
        none = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        embedded = encoder.mask_embed(earlier.clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT))
        # Each object is an image of its own to the decoder, with prompts of one object.
        logits, scores, _, _ = self.mask_decoder(
            image_embeddings=coarse.expand(points.shape[0], -1, -1, -1),
            image_positional_embeddings=self.positions,
            sparse_prompt_embeddings=sparse[:, None],
            dense_prompt_embeddings=has_earlier * embedded + (1 - has_earlier) * none,
            multimask_output=False,
            high_resolution_features=[fine, middle],
        )
        return logits[:, 0], scores[:, 0]


def architecture(model: PromptableModel, mean: RGB, deviation: RGB) -> Architecture:
    """Take over a model with the prompt encoder and mask decoder of SAM 2.

    Args:
        model: a Sam2Model, EdgeTamModel or another with their `get_image_embeddings`,
            `prompt_encoder` and `mask_decoder`.
        mean: of each channel, for pixels from 0 to 1, as image processors have it.
        deviation: the standard deviation of each channel, likewise.
    """
    height, width = model.prompt_encoder.mask_input_size
    facts = SegmenterFacts(
        "squashed",
        model.prompt_encoder.input_image_size,
        mean=_of_bytes(mean),
        deviation=_of_bytes(deviation),
        grid_hw=(height, width),
        # transformers' prompt encoder follows the corners of a box with a point that is none.
        box_kinds=(*CORNERS, NO_POINT),
    )
    return Architecture(split(model.eval().requires_grad_(False)), facts)


def split(model: PromptableModel) -> Mapping[str, SubModel]:
    """A model's two graphs: "encoder", once an image, and "decoder", for some prompts."""
    side = model.prompt_encoder.input_image_size
    encoder = Encoder(model)
    grid_hw = model.prompt_encoder.mask_input_size

    def pixels() -> Tensors:
        return (torch.randn(1, 3, side, side),)

    def prompts() -> Tensors:
        kinds = (1, 0, *CORNERS, NO_POINT)
        return (*encoder(*pixels()), *traced_prompts(side, grid_hw, kinds))

    return {
        "encoder": SubModel(encoder, pixels, fixed_shapes=True),
        "decoder": SubModel(Decoder(model), prompts),
    }


def _give_all_masks(decoder: Any) -> None:  # noqa: ANN401 - transformers comes without types
    """Let a mask decoder return four masks where it would choose one: its choice comes first.

    It computes all four in any case, but returns the choice, or the other three. So one run
    has what a box needs and what an ambiguous point needs.
    """
    choose: Callable[[Tensor, Tensor], Tensors] = decoder._dynamic_multimask_via_stability
    chooses = decoder.dynamic_multimask_via_stability

    def choice_first(logits: Tensor, scores: Tensor) -> Tensors:
        if not chooses:
            return logits, scores
        best, score = choose(logits, scores)
        return torch.cat((best, logits[:, :, 1:]), 2), torch.cat((score, scores[:, :, 1:]), 2)

    decoder.dynamic_multimask_via_stability = True
    decoder._dynamic_multimask_via_stability = choice_first


def _of_bytes(values: RGB) -> RGB:
    red, green, blue = values
    return 255 * red, 255 * green, 255 * blue
