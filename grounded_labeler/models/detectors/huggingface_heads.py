"""The heads of a Grounding DINO in transformers, which several versions of it load wrongly.

Each layer of the decoder has a head that moves boxes, and in MM-Grounding-DINO and LLMDet
a bias of the scores. They are one and the same for all layers, or each layer has its own.
The model holds them twice: `bbox_embed.<layer>` and `model.decoder.bbox_embed.<layer>`, and
`class_embed` likewise. A file names each once, under either name. What it leaves out,
transformers fills in as the flags of the config say. With wrong flags, and in 5.0 to 5.20
with any, layers get the heads of others, and no key is reported missing or unexpected.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import __version__ as transformers_version

from grounded_labeler.errors import WeightsError

Heads = Mapping[str, Tensor]

# Kinds of heads, and the flag of the config that says whether all layers share one.
_FLAGS = {"bbox_embed": "decoder_bbox_embed_share", "class_embed": "decoder_cls_embed_share"}
_OF_A_LAYER = re.compile(r"(?:^|\.)(bbox_embed|class_embed)\.(\d+)\.(.+)$")
_SHARES_BY_DEFAULT = "grounding-dino"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"


def read_heads(folder: Path) -> Heads:
    """Read the tensors of all heads, by their names in the file or files of `folder`.

    Raises OSError, ValueError, LookupError or SafetensorError when a file is missing or damaged.
    """
    heads: dict[str, Tensor] = {}
    for file in _weights_files(folder):
        with safe_open(file, framework="pt") as opened:
            heads |= {
                name: opened.get_tensor(name)
                for name in opened.keys()  # noqa: SIM118 - it is no mapping
                if _is_head(name)
            }
    return heads


def set_sharing(config: PreTrainedConfig, heads: Heads, folder: Path) -> None:
    """Set the flags of `config` to what the file holds: one head for all layers, or one for each.

    Raises WeightsError when it holds some of the heads only: one, where `config.json` does
    not say that all layers share it, or fewer than there are layers.
    """
    layers = config.decoder_layers
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for kind, flag in _FLAGS.items():
        matches = [match for match in map(_OF_A_LAYER.search, heads) if match]
        held = sorted({int(match[2]) for match in matches if match[1] == kind})
        if held == list(range(layers)):
            setattr(config, flag, layers == 1)
        elif held == [0] and written.get(flag, config.model_type == _SHARES_BY_DEFAULT):
            setattr(config, flag, True)
        elif held == [0]:
            raise WeightsError(
                f"{folder} has the {kind} of the first decoder layer only, as transformers 5.0 to "
                "5.20 saves MM-Grounding-DINO and LLMDet: take the model as it was before, or set "
                f'"{flag}": true in its config.json if it was trained with one for all layers.'
            )
        elif held:
            raise WeightsError(
                f"{folder} has the {kind} of decoder layers {', '.join(map(str, held))}: "
                f"expected that of layer 0 or of all {layers}."
            )


def check_heads(model: PreTrainedModel, heads: Heads, folder: Path) -> None:
    """Compare each head of the loaded `model`, under both of its names, with that of the file.

    Raises WeightsError when one differs: transformers has put another in its place.
    """
    held: dict[tuple[str, ...], list[Tensor]] = defaultdict(list)
    for name, value in heads.items():
        held[_place(name)].append(value)
    wrong = [
        name
        for name, value in model.state_dict().items()
        if _is_head(name) and not _equals_all(value, held[_place(name)] or held[_place(name, 0)])
    ]
    if wrong:
        raise WeightsError(
            f"transformers {transformers_version} gives the model in {folder} other heads than its "
            f"file holds ({len(wrong)} tensors, {wrong[0]} the first): install the version in "
            "requirements.txt."
        )


def _weights_files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    return [folder / name for name in sorted(set(index["weight_map"].values()))]


def _is_head(name: str) -> bool:
    return any(kind in name for kind in _FLAGS)


def _place(name: str, layer: int | None = None) -> tuple[str, ...]:
    """What of the model a name stands for; that of `layer` instead, if given."""
    match = _OF_A_LAYER.search(name)
    if match is None:
        return (name,)
    return match[1], match[2] if layer is None else str(layer), match[3]


def _equals_all(value: Tensor, held: list[Tensor]) -> bool:
    return bool(held) and all(torch.equal(value, one.to(value.dtype)) for one in held)
