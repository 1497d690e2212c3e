"""transformers' Grounding DINO, MM-Grounding-DINO and LLMDet, split into its stages."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded_labeler.models.detectors.facts import DetectorFacts
from grounded_labeler.models.detectors.parts import Parts, measure_cells, parts_of, project_levels
from grounded_labeler.models.detectors.preprocess import Preprocessing
from grounded_labeler.models.runtime.graph import Tensors
from grounded_labeler.models.runtime.without_waiting import MadeOnDevice, without_waiting

# The models find the ends of phrases by these ids, whatever the tokenizer says.
DELIMITERS = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}


class Backbone(nn.Module):
    """Pixels (B, 3, h, w) to the levels that the fused encoder takes, (B, C, h_i, w_i) each."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.swin = model.backbone.conv_encoder
        self.project = model.input_proj_vision

    def forward(self, pixels: Tensor) -> Tensors:
        stages = [stage for stage, _ in self.swin(pixels, _everywhere(pixels).long())]
        return project_levels(self.project, stages)


class Text(nn.Module):
    """Tokens (B, T), which of them see each other (B, T, T), and positions (B, T) to (B, T, D)."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.bert, self.project = model.text_backbone, model.text_projection

    def forward(self, ids: Tensor, attention: Tensor, positions: Tensor) -> Tensors:
        # The kinds of tokens are all 0; in a graph, zeros_like would begin with a float.
        out = self.bert(ids, attention[:, None], ids * 0, positions)
        return (self.project(out.last_hidden_state),)


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
        self.text_masks = _TextMasks()
        whole.encoder.register_forward_pre_hook(self.text_masks, with_kwargs=True)

    def forward(self, *inputs: Tensor) -> Tensors:
        *levels, encoded, mask, self.text_masks.position_ids, self.text_masks.self_attention = (
            inputs
        )
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


class _TextMasks:
    """Passes the text attention masks to the encoder, which it would compute from token ids.

    Its own computation cannot be traced, and only the text encoder knows the ids. A hook of
    the module that holds the encoder would make a circle of the two, and a model that nobody
    uses any more would stay on a GPU until Python looks for circles.
    """

    position_ids: Tensor
    self_attention: Tensor

    def __call__(
        self, _: nn.Module, args: tuple[object, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[object, ...], dict[str, Any]]:
        given = {
            "text_self_attention_masks": ~self.self_attention,
            "text_position_ids": self.position_ids,
        }
        return args, {**kwargs, **given}


class FusionOnGPU(nn.Module):
    """A `Fusion` that never waits for the device."""

    def __init__(self, fusion: Fusion) -> None:
        """Take over `fusion`."""
        super().__init__()
        self.fusion = without_waiting(fusion)

    def forward(self, *inputs: Tensor) -> Tensors:
        with MadeOnDevice():
            outputs: Tensors = self.fusion(*inputs)
        return outputs


class _Precomputed(nn.Module):
    """Returns an output computed elsewhere, whatever its arguments."""

    output: object = None

    def forward(self, *_: object, **__: object) -> object:
        return self.output


def _everywhere(tensor: Tensor) -> Tensor:
    """A mask (B, h, w) that leaves nothing of (B, C, h, w) out."""
    return torch.ones_like(tensor[:, 0], dtype=torch.bool)


def split(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, images: Preprocessing
) -> Parts:
    """Split `model` into its parts; the whole model cannot be used afterwards."""
    whole = model.model
    backbone, text = Backbone(whole), Text(whole)
    fusion = Fusion(model)
    facts = DetectorFacts(
        model.config.max_text_len,
        model.config.num_queries,
        measure_cells(backbone),
        tuple(DELIMITERS.values()),
        images,
    )
    return parts_of(
        facts,
        tokenizer.backend_tokenizer,
        backbone=backbone,
        text=text,
        fusion=fusion,
        fusion_on_gpu=lambda: FusionOnGPU(fusion),
    )
