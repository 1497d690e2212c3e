"""The stages of SAM 3: transformers' modules, cut where their outputs are worth keeping.

    pixels -> Backbone -> state -> DetectorNeck -> level   ┐
                            |                              ├> Joint -> boxes, logits, presence
                            |                    Text -> text ┘
                            └----> TrackerNeck -> levels -> the decoder of clicks and boxes

One ViT serves both heads, and it is nine tenths of the work for an image.
"""

from types import SimpleNamespace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput, Sam3VisionNeck

from grounded_labeler.models.runtime.graph import Tensors


class Backbone(nn.Module):
    """Pixels, float32 (B, 3, S, S), to the ViT's last state, float32 (B, D, g, g)."""

    def __init__(self, detector: PreTrainedModel) -> None:
        super().__init__()
        self.vit = detector.vision_encoder.backbone
        self.cells = grid_side(detector)

    def forward(self, pixels: Tensor) -> Tensors:
        state = self.vit(pixels).last_hidden_state
        return (state.transpose(1, 2).unflatten(2, (self.cells, self.cells)),)


class DetectorNeck(nn.Module):
    """The ViT's state to the one level that boxes are found in, float32 (B, C, g, g).

    The finer levels serve only the masks of queries, which nothing here asks for, and the
    coarsest one nothing at all.
    """

    def __init__(self, detector: PreTrainedModel) -> None:
        super().__init__()
        self.level = detector.vision_encoder.neck.fpn_layers[-2]

    def forward(self, state: Tensor) -> Tensors:
        return (self.level(state),)


class TrackerNeck(nn.Module):
    """The ViT's state to the three levels that masks are decoded from, the finest first.

    Float32 (B, C/8, 4g, 4g), (B, C/4, 2g, 2g) and (B, C, g, g). The last one has the
    embedding of "no memory of earlier frames" added, as in Meta's image predictor and on the
    first frame of transformers' tracker of videos. transformers' Sam3TrackerModel 5.23 adds it to
    a fourth level that nothing reads.
    https://github.com/facebookresearch/sam3/blob/main/sam3/model/sam1_task_predictor.py
    """

    def __init__(self, neck: Sam3VisionNeck, tracker: PreTrainedModel) -> None:
        super().__init__()
        self.finest, self.finer, self.coarse = list(neck.fpn_layers)[:3]
        self.project_finest = tracker.mask_decoder.conv_s0
        self.project_finer = tracker.mask_decoder.conv_s1
        self.no_memory = tracker.no_memory_embedding

    def forward(self, state: Tensor) -> Tensors:
        return (
            self.project_finest(self.finest(state)),
            self.project_finer(self.finer(state)),
            self.coarse(state) + self.no_memory.reshape(1, -1, 1, 1),
        )


class Text(nn.Module):
    """Token ids, int64 (B, T), and which are no padding, bool (B, T), to the text (B, T, C)."""

    def __init__(self, detector: PreTrainedModel) -> None:
        super().__init__()
        self.encoder, self.project = detector.text_encoder, detector.text_projection

    def forward(self, ids: Tensor, mask: Tensor) -> Tensors:
        return (self.project(self.encoder(ids, mask.long()).last_hidden_state),)


class Joint(nn.Module):
    """A level and a text to Q boxes with their logits and the logit of the text's presence.

    Takes the level, float32 (B, C, g, g), the text, float32 (B, T, C), and which of its
    tokens are no padding, bool (B, T). Returns boxes, float32 (B, Q, 4) xyxy as fractions of
    the image, logits (B, Q) and presence logits (B, 1).

    It is the whole model without the parts that other stages run or that nobody needs, so
    that nothing of the model has to be written again.
    """

    def __init__(self, detector: PreTrainedModel) -> None:
        super().__init__()
        cells, neck = grid_side(detector), detector.vision_encoder.neck
        shape = torch.Size((1, detector.config.vision_config.fpn_hidden_size, cells, cells))
        self.position: Tensor
        self.register_buffer("position", neck.position_encoding(shape, "cpu", torch.float32))
        self.model = detector
        # Masks of all queries are more than half of the work that is left.
        detector.mask_decoder = _NoMasks()
        for name in ("vision_encoder", "text_encoder", "text_projection", "geometry_encoder"):
            setattr(detector, name, None)

    def forward(self, level: Tensor, text: Tensor, mask: Tensor) -> Tensors:
        # Of the levels, the model itself leaves the last one out.
        levels = Sam3VisionEncoderOutput(
            fpn_hidden_states=(level, level),
            fpn_position_encoding=(self.position.expand_as(level),) * 2,
        )
        out = self.model(
            vision_embeds=levels,
            text_embeds=SimpleNamespace(pooler_output=text),
            attention_mask=mask,
        )
        return out.pred_boxes, out.pred_logits, out.presence_logits


class _NoMasks(nn.Module):
    """Stands where the decoder of the queries' masks was."""

    def forward(self, **_: object) -> SimpleNamespace:
        return SimpleNamespace(pred_masks=None, semantic_seg=None, attentions=None)


def grid_side(detector: PreTrainedModel) -> int:
    """Return how many patches lie along a side of the model's square input."""
    vit = detector.config.vision_config.backbone_config
    return int(vit.image_size // vit.patch_size)
