"""SAM 2.1 and EdgeTAM from a folder in the hub's layout."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, EdgeTamModel, Sam2Model

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.hub_folder import LOCAL, reading
from grounded_labeler.models.segmenters import sam2
from grounded_labeler.models.segmenters.architecture import Architecture
from grounded_labeler.models.segmenters.facts import RGB
from grounded_labeler.models.state_dict import check_keys

CONFIG_FILE, PROCESSOR_FILE = "config.json", "preprocessor_config.json"

# The published folders are those of the models for video, which hold the model for images.
# What only video needs is in no model here: transformers leaves it out by name.
_MODELS = {
    "sam2": Sam2Model,
    "sam2_video": Sam2Model,
    "edgetam": EdgeTamModel,
    "edgetam_video": EdgeTamModel,
}
_BACKBONES = {Sam2Model: "sam2_hiera_det_model", EdgeTamModel: "timm_wrapper"}
# timm would look up other names on the hub, and other arguments may name files.
_TIMM_FAMILY = "repvit_"
_TIMM_ARGUMENTS = {"in_chans", "features_only", "out_indices"}

# ImageNet's, which the published folders have.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load(folder: Path) -> Architecture:
    """Load a SAM 2.1 or an EdgeTAM, for video or for images.

    Args:
        folder: holds config.json, model.safetensors and, if the model was trained with another
            mean and deviation than ImageNet's, preprocessor_config.json.

    Raises WeightsError when a file is missing or damaged, when the folder holds another kind
    of model, or when its weights do not fit its config exactly.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise WeightsError(f"{folder} has no {CONFIG_FILE}: download the weights first.")
    mean, deviation = _read_colours(folder / PROCESSOR_FILE)
    with reading(folder):
        config = AutoConfig.from_pretrained(folder, **LOCAL)
        kind = _MODELS.get(config.model_type)
        if kind is None:
            expected = " or ".join(_MODELS)
            raise WeightsError(f"{folder} holds a {config.model_type}: expected {expected}.")
        _check_backbone(folder, config.vision_config.backbone_config, _BACKBONES[kind])
        model, info = kind.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **LOCAL,
        )
    check_keys(folder, info["missing_keys"], info["unexpected_keys"])
    return sam2.architecture(model, mean, deviation)


def _check_backbone(folder: Path, backbone: Any, expected: str) -> None:  # noqa: ANN401
    """Raise WeightsError where the config names another image encoder than its family's."""
    if backbone.model_type != expected:
        raise WeightsError(
            f"{folder}/{CONFIG_FILE} names the backbone {backbone.model_type}: expected {expected}."
        )
    if expected != "timm_wrapper":
        return
    arguments = set(backbone.model_args or {})
    if not backbone.architecture.startswith(_TIMM_FAMILY) or not arguments <= _TIMM_ARGUMENTS:
        raise WeightsError(
            f"{folder}/{CONFIG_FILE} names the backbone {backbone.architecture} with "
            f"{', '.join(sorted(arguments)) or 'no arguments'}: expected a {_TIMM_FAMILY}... with "
            f"{', '.join(sorted(_TIMM_ARGUMENTS))}."
        )


def _read_colours(path: Path) -> tuple[RGB, RGB]:
    """The mean and deviation of each channel, in [0, 1]."""
    if not path.is_file():
        return _MEAN, _DEVIATION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return _three(values["image_mean"]), _three(values["image_std"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"{path} holds no image_mean and image_std of three channels."
        ) from error


def _three(values: Any) -> RGB:  # noqa: ANN401 - what JSON holds
    red, green, blue = (float(value) for value in values)
    return red, green, blue
