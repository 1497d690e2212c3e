"""Engine "groundingdino": the original model, split into its stages.

The code here does what the package's GroundingDINO.forward does between its stages.
"""

from collections.abc import Sequence
from pathlib import Path

import groundingdino.models.GroundingDINO.groundingdino as package
import numpy as np
import torch
from groundingdino.datasets import transforms
from groundingdino.models.GroundingDINO.bertwarper import (
    generate_masks_with_special_tokens_and_transfer_map,
)
from groundingdino.util.misc import NestedTensor, inverse_sigmoid
from PIL import Image
from torch import Tensor, nn

from grounded_labeler.core.types import RGBImage
from grounded_labeler.models.detectors.official_build import (
    find_checkpoint,
    load_model,
    read_checkpoint,
)
from grounded_labeler.models.detectors.parts import (
    TRACED_CAPTION,
    Parts,
    measure_cells,
    project_levels,
    traced_pixels,
)
from grounded_labeler.models.detectors.preprocess import Pixels, long_side
from grounded_labeler.models.runtime.graph import SubModel, Tensors
from grounded_labeler.models.runtime.unloading import OpenFile, ReadWeights, Weights, pick

_SHORT_SIDE = 800
# How names begin in the checkpoint, and in the module of the text encoder.
_TEXT_NAMES = {"bert.": "0.", "feat_map.": "1."}


class Backbone(nn.Module):
    """Pixels (B, 3, h, w) to the levels that the fused encoder takes, (B, C, h_i, w_i) each."""

    def __init__(self, model: package.GroundingDINO) -> None:
        super().__init__()
        self.swin = model.backbone[0]
        self.project = model.input_proj

    def forward(self, pixels: Tensor) -> Tensors:
        stages = [stage.tensors for stage in self.swin(_unpadded(pixels)).values()]
        return project_levels(self.project, stages)


class Fusion(nn.Module):
    """Levels and text to boxes (B, Q, 4), cxcywh as fractions, and token scores (B, Q, T)."""

    def __init__(self, model: package.GroundingDINO) -> None:
        super().__init__()
        self.position = model.backbone[1]
        self.transformer = model.transformer
        self.move_box, self.score = model.bbox_embed[-1], model.class_embed[-1]

    def forward(self, *inputs: Tensor) -> Tensors:
        *levels, encoded, mask, position_ids, self_attention = inputs
        nested = [_unpadded(level) for level in levels]
        text = {
            "encoded_text": encoded,
            "text_token_mask": mask,
            "position_ids": position_ids,
            "text_self_attention_masks": self_attention,
        }
        positions = [self.position(level).to(encoded.dtype) for level in nested]
        masks = [level.mask for level in nested]
        states, references, *_ = self.transformer(levels, masks, None, positions, None, None, text)
        boxes = (self.move_box(states[-1]) + inverse_sigmoid(references[-2])).sigmoid()
        return boxes, self.score(states[-1], text).sigmoid()


def _unpadded(tensor: Tensor) -> NestedTensor:
    return NestedTensor(tensor, torch.zeros_like(tensor[:, 0], dtype=torch.bool))


def split(
    model: package.GroundingDINO,
    short_side: int | None = None,
    read_text_weights: ReadWeights | None = None,
) -> Parts:
    """Split a model into its parts; `short_side` None resizes as its authors do.

    `read_text_weights` reads those of the text encoder again.
    """
    short = short_side or _SHORT_SIDE
    longest = long_side(short)
    resize = transforms.Compose(
        [
            transforms.RandomResize([short], max_size=longest),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    text = nn.ModuleList([model.bert, model.feat_map])
    tokenizer, special = model.tokenizer, model.specical_tokens
    backbone = Backbone(model)

    def prepare(image: RGBImage) -> Pixels:
        pixels, _ = resize(Image.fromarray(image), None)
        return np.asarray(pixels.numpy(), np.float32)

    def encode_text(captions: Sequence[str]) -> Tensors:
        bert, project = text
        device = project.weight.device
        tokens = tokenizer(list(captions), padding="longest", return_tensors="pt").to(device)
        attention, position_ids, _ = generate_masks_with_special_tokens_and_transfer_map(
            tokens, special, tokenizer
        )
        encoded = bert(
            input_ids=tokens["input_ids"],
            token_type_ids=tokens["token_type_ids"],
            attention_mask=attention,
            position_ids=position_ids,
        )["last_hidden_state"]
        return project(encoded), tokens["attention_mask"].bool(), position_ids, attention

    def traced_inputs() -> Tensors:
        return (*backbone(*traced_pixels()), *encode_text([TRACED_CAPTION]))

    return Parts(
        tokenizer.backend_tokenizer,
        model.max_text_len,
        model.num_queries,
        longest,
        measure_cells(backbone),
        prepare,
        text,
        encode_text,
        {
            "backbone": SubModel(backbone, traced_pixels),
            "fusion": SubModel(Fusion(model), traced_inputs),
        },
        read_text_weights,
    )


def load(
    path: Path, tokenizer_folder: Path, short_side: int | None, config: str | None = None
) -> Parts:
    """Load the parts of the model in the file or folder `path`; raises as `load_model` does."""
    model = load_model(path, tokenizer_folder, config)
    opened = OpenFile(find_checkpoint(path))

    def read_text_weights() -> Weights:
        return pick(read_checkpoint(opened.path), _TEXT_NAMES)

    return split(model, short_side, read_text_weights)
