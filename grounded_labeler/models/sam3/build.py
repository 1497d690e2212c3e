"""SAM 3 from a local folder in the hub's layout, cut into its stages.

The published file holds the state of transformers' `Sam3VideoModel`: a detector
(`detector_model.`), a tracker without a ViT of its own (`tracker_model.`) and the neck
between the detector's ViT and the tracker (`tracker_neck.`). Loaded as that model, one ViT
serves both, and no tensor is missing or left over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
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

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.detectors.huggingface_images import preprocessing_of
from grounded_labeler.models.hub_folder import LOCAL, reading
from grounded_labeler.models.runtime.graph import SubModel, Tensors
from grounded_labeler.models.sam3.cost import Cost
from grounded_labeler.models.sam3.facts import Sam3Facts
from grounded_labeler.models.sam3.modules import (
    Backbone,
    DetectorNeck,
    Joint,
    Text,
    TrackerNeck,
    grid_side,
)
from grounded_labeler.models.segmenters import sam2
from grounded_labeler.models.segmenters.architecture import traced_prompts
from grounded_labeler.models.state_dict import check_keys

# With the tracker, as it is published, and a detector alone.
MODEL_CLASSES = {"sam3_video": Sam3VideoModel, "sam3": Sam3Model}


@dataclass(frozen=True, eq=False)
class Sam3Parts:
    """The stages of one model.

    Attributes:
        facts: what its graphs have to be fed with.
        tokenizer: the text encoder's tokenizer.
        graphs: "backbone", "detector_neck", "text" and "joint", and with a tracker
            "tracker_neck" and "decoder".
    """

    facts: Sam3Facts
    tokenizer: Tokenizer
    graphs: Mapping[str, SubModel]


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

    `folder` is where its weights are. Raises WeightsError as `load` does.
    """
    is_whole = model.config.model_type == "sam3_video"
    detector = model.detector_model if is_whole else model
    tracker = model.tracker_model if is_whole else None
    vit, cells = detector.config.vision_config.backbone_config, grid_side(detector)
    max_tokens = detector.config.text_config.max_position_embeddings
    images = preprocessing_of(processor, folder)
    if images.fit != "exact" or images.size != (vit.image_size,) * 2:
        raise WeightsError(
            f"{folder} resizes images to {images.size} pixels: expected {vit.image_size} along "
            "both sides, whatever their ratio, as the published model's processor does."
        )

    def pixels() -> Tensors:
        return (torch.randn(1, 3, vit.image_size, vit.image_size),)

    def state() -> Tensors:
        return (torch.randn(1, vit.hidden_size, cells, cells),)

    def tokens() -> Tensors:
        mask = torch.arange(max_tokens)[None] < max_tokens // 2
        return torch.zeros(1, max_tokens, dtype=torch.int64), mask

    def joint() -> Tensors:
        width = text.project.out_features
        return (
            torch.randn(1, width, cells, cells), torch.randn(1, max_tokens, width), tokens()[1],
        )  # fmt: skip

    graphs = {
        "backbone": SubModel(Backbone(detector), pixels, fixed_shapes=True),
        "detector_neck": SubModel(DetectorNeck(detector), state, fixed_shapes=True),
    }
    of_tracker = None
    if tracker is not None:
        neck = TrackerNeck(model.tracker_neck, tracker)
        graphs["tracker_neck"] = SubModel(neck, state, fixed_shapes=True)
        own = sam2.architecture(tracker, processor.image_mean, processor.image_std)

        def prompts() -> Tensors:
            kinds = (1, 0, *own.facts.box_kinds)
            return (*neck(*state()), *traced_prompts(vit.image_size, own.facts.grid_hw, kinds))

        graphs["decoder"] = SubModel(own.parts["decoder"].module, prompts)
        of_tracker = own.facts
    text = Text(detector)
    graphs["text"] = SubModel(text, tokens, fixed_shapes=True)
    # The last one: it takes the detector apart.
    graphs["joint"] = SubModel(Joint(detector), joint, fixed_shapes=True, waits=True)
    facts = Sam3Facts(
        max_tokens, tokenizer.pad_token_id, images, Cost.of(detector.config), of_tracker
    )
    return Sam3Parts(facts, tokenizer.backend_tokenizer, graphs)
