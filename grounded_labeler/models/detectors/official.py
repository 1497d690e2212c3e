"""Engine "groundingdino": the original model, split into its stages.

The code here does what the package's GroundingDINO.forward does between its stages.
"""

from pathlib import Path

import groundingdino.models.GroundingDINO.groundingdino as package
import torch
from groundingdino.util.misc import NestedTensor
from PIL import Image
from torch import Tensor, nn

from grounded_labeler.models.detectors.facts import DetectorFacts
from grounded_labeler.models.detectors.official_build import load_model
from grounded_labeler.models.detectors.official_fusion import Fusion, FusionOnGPU
from grounded_labeler.models.detectors.parts import Parts, measure_cells, parts_of, project_levels
from grounded_labeler.models.detectors.preprocess import Preprocessing
from grounded_labeler.models.runtime.graph import Tensors

# What the package's own `load_image` does.
IMAGES = Preprocessing(
    fit="groundingdino",
    size=(800, 1333),
    resample=Image.Resampling.BILINEAR.value,
    divisor=255.0,
    mean=(0.485, 0.456, 0.406),
    deviation=(0.229, 0.224, 0.225),
)


class Backbone(nn.Module):
    """Pixels (B, 3, h, w) to the levels that the fused encoder takes, (B, C, h_i, w_i) each."""

    def __init__(self, model: package.GroundingDINO) -> None:
        super().__init__()
        self.swin = model.backbone[0]
        self.project = model.input_proj

    def forward(self, pixels: Tensor) -> Tensors:
        stages = [stage.tensors for stage in self.swin(_unpadded(pixels)).values()]
        return project_levels(self.project, stages)


class Text(nn.Module):
    """Tokens (B, T), which of them see each other (B, T, T), and positions (B, T) to (B, T, D)."""

    def __init__(self, model: package.GroundingDINO) -> None:
        super().__init__()
        self.bert, self.project = model.bert, model.feat_map

    def forward(self, ids: Tensor, attention: Tensor, positions: Tensor) -> Tensors:
        encoded = self.bert(
            input_ids=ids,
            token_type_ids=ids * 0,  # in a graph, zeros_like would begin with a float
            attention_mask=attention,
            position_ids=positions,
        )["last_hidden_state"]
        return (self.project(encoded),)


def _unpadded(tensor: Tensor) -> NestedTensor:
    return NestedTensor(tensor, torch.zeros_like(tensor[:, 0], dtype=torch.bool))


def split(model: package.GroundingDINO) -> Parts:
    """Split a model into its parts."""
    backbone = Backbone(model)
    facts = DetectorFacts(
        model.max_text_len,
        model.num_queries,
        measure_cells(backbone),
        tuple(model.specical_tokens),
        IMAGES,
    )
    return parts_of(
        facts,
        model.tokenizer.backend_tokenizer,
        backbone=backbone,
        text=Text(model),
        fusion=Fusion(model),
        fusion_on_gpu=lambda: FusionOnGPU(model),
    )


def load(path: Path, tokenizer_folder: Path, config: str | None = None) -> Parts:
    """Load the parts of the model in the file or folder `path`; raises as `load_model` does."""
    return split(load_model(path, tokenizer_folder, config))
