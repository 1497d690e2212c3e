"""SAM 3 from a local folder in the hub's layout, cut into its stages.

The published file holds the state of transformers' `Sam3VideoModel`: a detector
(`detector_model.`), a tracker without a ViT of its own (`tracker_model.`) and the neck
between the detector's ViT and the tracker (`tracker_neck.`). Loaded as that model, one ViT
serves both, and no tensor is missing or left over.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    BaseImageProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Sam3Model,
    Sam3VideoModel,
)

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import WeightsError
from grounded_labeler.models.detectors.preprocess import Pixels
from grounded_labeler.models.hub_folder import LOCAL, reading, text_weights
from grounded_labeler.models.runtime.graph import SubModel, Tensors
from grounded_labeler.models.runtime.unloading import ReadWeights
from grounded_labeler.models.sam3.cost import Cost
from grounded_labeler.models.sam3.modules import (
    Backbone,
    DetectorNeck,
    Joint,
    TrackerNeck,
    grid_side,
)
from grounded_labeler.models.segmenters import sam2
from grounded_labeler.models.segmenters.architecture import Architecture, traced_prompts
from grounded_labeler.models.state_dict import check_keys

# With the tracker, as it is published, and a detector alone.
MODEL_CLASSES = {"sam3_video": Sam3VideoModel, "sam3": Sam3Model}
# How names begin in the file of a detector, and in the module of the text encoder.
_TEXT_NAMES = {"text_encoder.": "encoder.", "text_projection.": "project."}


class TextEncoder(nn.Module):
    """Token ids and which of them are no padding, (B, T) each, to the text (B, T, C)."""

    def __init__(self, detector: PreTrainedModel) -> None:
        super().__init__()
        self.encoder, self.project = detector.text_encoder, detector.text_projection

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        encoded: Tensor = self.project(self.encoder(ids, mask).last_hidden_state)
        return encoded


@dataclass(frozen=True, eq=False)
class Sam3Parts:
    """The stages of one model.

    Attributes:
        side: S, the pixels along a side of the model's square input.
        queries: Q, the number of boxes that the model proposes for each phrase.
        max_tokens: T, the longest phrase that the model reads, with both ends.
        tokenizer: the text encoder's tokenizer.
        text: the text encoder.
        read_text_weights: reads the weights of `text` again; None where they are in several
            files.
        prepare: squashes an image to float32 (3, S, S), normalised, with the model's own code.
        graphs: "backbone", "detector_neck" and "joint", and with a tracker "tracker_neck" and
            "decoder".
        tracker: decodes boxes and clicks; its only part is "decoder", which `graphs` has too.
            None where the folder has none.
        cost: what the model takes of a CPU.
    """

    side: int
    queries: int
    max_tokens: int
    tokenizer: PreTrainedTokenizerBase
    text: TextEncoder
    read_text_weights: ReadWeights | None
    prepare: Callable[[RGBImage], Pixels]
    graphs: Mapping[str, SubModel]
    tracker: Architecture | None
    cost: Cost


def load(folder: Path) -> Sam3Parts:
    """Load the model in `folder`: its config, safetensors, tokenizer and image processor.

    Raises WeightsError when a file is missing or damaged, when the folder holds another kind
    of model, or when its weights do not fit its config exactly.
    """
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} has no config.json: it is no folder of a SAM 3.")
    with reading(folder):
        config = AutoConfig.from_pretrained(folder, **LOCAL)
        if config.model_type not in MODEL_CLASSES:
            expected = " or ".join(MODEL_CLASSES)
            raise WeightsError(f"{folder} holds a {config.model_type}: expected {expected}.")
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
        processor = AutoImageProcessor.from_pretrained(folder, **LOCAL)
        model, info = MODEL_CLASSES[config.model_type].from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **LOCAL,
        )
    check_keys(folder, info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"])
    return split(model.eval().requires_grad_(False), tokenizer, processor, folder)


def split(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    processor: BaseImageProcessor,
    folder: Path,
) -> Sam3Parts:
    """Split `model` into its parts; the whole model cannot be used afterwards.

    `folder` is where its weights are.
    """
    is_whole = model.config.model_type == "sam3_video"
    prefix = "detector_model." if is_whole else ""
    detector = model.detector_model if is_whole else model
    tracker = model.tracker_model if is_whole else None
    vit, cells = detector.config.vision_config.backbone_config, grid_side(detector)
    max_tokens = detector.config.text_config.max_position_embeddings

    def prepare(image: RGBImage) -> Pixels:
        # A PIL image: a strip 3 pixels high, as an array, passes for channels first.
        values = processor(images=Image.fromarray(image), return_tensors="pt")
        return np.asarray(values["pixel_values"][0].numpy(), np.float32)

    def pixels() -> Tensors:
        return (torch.randn(1, 3, vit.image_size, vit.image_size),)

    def state() -> Tensors:
        return (torch.randn(1, vit.hidden_size, cells, cells),)

    def joint() -> Tensors:
        width = text.project.out_features
        mask = torch.arange(max_tokens)[None] < max_tokens // 2
        return (
            torch.randn(1, width, cells, cells), torch.randn(1, max_tokens, width), mask,
        )  # fmt: skip

    graphs = {
        "backbone": SubModel(Backbone(detector), pixels, fixed_shapes=True),
        "detector_neck": SubModel(DetectorNeck(detector), state, fixed_shapes=True),
    }
    architecture = None
    if tracker is not None:
        neck = TrackerNeck(model.tracker_neck, tracker)
        graphs["tracker_neck"] = SubModel(neck, state, fixed_shapes=True)
        own = sam2.architecture(tracker, processor.image_mean, processor.image_std)

        def prompts() -> Tensors:
            kinds = (1, 0, *own.box_kinds)
            return (*neck(*state()), *traced_prompts(vit.image_size, own.grid_hw, kinds))

        graphs["decoder"] = SubModel(own.parts["decoder"].module, prompts)
        architecture = replace(own, parts={"decoder": graphs["decoder"]})
    text = TextEncoder(detector)
    # The last one: it takes the detector apart.
    graphs["joint"] = SubModel(Joint(detector), joint, fixed_shapes=True)
    return Sam3Parts(
        vit.image_size,
        detector.config.detr_decoder_config.num_queries,
        max_tokens,
        tokenizer,
        text,
        text_weights(folder, {f"{prefix}{old}": new for old, new in _TEXT_NAMES.items()}),
        prepare,
        graphs,
        architecture,
        Cost.of(detector.config),
    )
