"""transformers' Grounding DINO, MM-Grounding-DINO and LLMDet, split into its stages."""

import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase

from grounded_labeler.core.types import RGBImage
from grounded_labeler.models.detectors.parts import (
    TRACED_CAPTION,
    Parts,
    measure_cells,
    project_levels,
    traced_pixels,
)
from grounded_labeler.models.detectors.preprocess import Pixels
from grounded_labeler.models.runtime.graph import SubModel, Tensors
from grounded_labeler.models.runtime.unloading import ReadWeights

# The models find the ends of phrases by these ids, whatever the tokenizer says.
DELIMITERS = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
# How names begin in the file, and in the module of the text encoder.
TEXT_NAMES = {"model.text_backbone.": "0.", "model.text_projection.": "1."}


class Backbone(nn.Module):
    """Pixels (B, 3, h, w) to the levels that the fused encoder takes, (B, C, h_i, w_i) each."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.swin = model.backbone.conv_encoder
        self.project = model.input_proj_vision

    def forward(self, pixels: Tensor) -> Tensors:
        stages = [stage for stage, _ in self.swin(pixels, _everywhere(pixels).long())]
        return project_levels(self.project, stages)


class Fusion(nn.Module):
    """Levels and text to boxes (B, Q, 4), cxcywh as fractions, and token scores (B, Q, T).

    It is the whole model with both of its encoders replaced by what they have made
    already, so that nothing of the model has to be written again.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        whole = model.model
        self.position = whole.backbone.position_embedding
        self.image_output, self.text_output = _Precomputed(), _Precomputed()
        whole.backbone, whole.text_backbone = self.image_output, self.text_output
        whole.input_proj_vision = nn.ModuleList(nn.Identity() for _ in whole.input_proj_vision)
        whole.text_projection = nn.Identity()
        whole.encoder.register_forward_pre_hook(self._give_masks, with_kwargs=True)

    def forward(self, *inputs: Tensor) -> Tensors:
        *levels, encoded, mask, self.position_ids, self.self_attention = inputs
        masks = [_everywhere(level) for level in levels]
        positions = [
            self.position(level, all_of_it).to(level.dtype)
            for level, all_of_it in zip(levels, masks, strict=True)
        ]
        self.image_output.output = list(zip(levels, masks, strict=True)), positions
        self.text_output.output = SimpleNamespace(last_hidden_state=encoded)
        out = self.model(
            # The model reads only the number of images and of tokens from both.
            pixel_values=levels[-1][:, :3],
            input_ids=mask.long(),
            attention_mask=mask,
        )
        return out.pred_boxes, out.logits.sigmoid()

    def _give_masks(
        self, _: nn.Module, args: tuple[object, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[object, ...], dict[str, Any]]:
        """Pass the text attention masks in, which the model would compute from token ids.

        Its own computation cannot be traced, and only the text encoder knows the ids.
        """
        given = {
            "text_self_attention_masks": ~self.self_attention,
            "text_position_ids": self.position_ids,
        }
        return args, {**kwargs, **given}


class _Precomputed(nn.Module):
    """Returns an output computed elsewhere, whatever its arguments."""

    output: object = None

    def forward(self, *_: object, **__: object) -> object:
        return self.output


def _everywhere(tensor: Tensor) -> Tensor:
    """A mask (B, h, w) that leaves nothing of (B, C, h, w) out."""
    return torch.ones_like(tensor[:, 0], dtype=torch.bool)


def split(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    processor: BaseImageProcessor,
    read_text_weights: ReadWeights | None = None,
) -> Parts:
    """Split `model` into its parts; the whole model cannot be used afterwards.

    `read_text_weights` reads those of the text encoder again, under the names `TEXT_NAMES` gives.
    """
    whole = model.model
    text = nn.ModuleList([whole.text_backbone, whole.text_projection])
    functions = sys.modules[type(whole).__module__]
    masks_of = functions.generate_masks_with_special_tokens_and_transfer_map
    special = torch.tensor(list(DELIMITERS.values()))
    backbone, fusion = Backbone(whole), Fusion(model)

    def prepare(image: RGBImage) -> Pixels:
        # A PIL image: a strip 3 pixels high, as an array, passes for channels first.
        values = processor(images=Image.fromarray(image), return_tensors="pt")
        return np.asarray(values["pixel_values"][0].numpy(), np.float32)

    def encode_text(captions: Sequence[str]) -> Tensors:
        bert, project = text
        device = next(project.parameters()).device
        tokens = tokenizer(list(captions), padding=True, return_tensors="pt").to(device)
        attention, position_ids = masks_of(tokens["input_ids"], special.to(device))
        encoded = bert(
            tokens["input_ids"], attention[:, None], tokens["token_type_ids"], position_ids
        ).last_hidden_state
        return project(encoded), tokens["attention_mask"].bool(), position_ids, attention

    def traced_inputs() -> Tensors:
        return (*backbone(*traced_pixels()), *encode_text([TRACED_CAPTION]))

    return Parts(
        tokenizer.backend_tokenizer,
        model.config.max_text_len,
        model.config.num_queries,
        processor.size["longest_edge"] or max(processor.size["height"], processor.size["width"]),
        measure_cells(backbone),
        prepare,
        text,
        encode_text,
        {"backbone": SubModel(backbone, traced_pixels), "fusion": SubModel(fusion, traced_inputs)},
        read_text_weights,
    )
