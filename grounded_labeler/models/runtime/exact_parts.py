"""Parts of models that compute in float32 where autocast has the others compute in 16 bits.

Grounding DINO's encoder proposes boxes for all cells and hands the best on in the order of their
scores, each with a vector of its place in that order. Where rounding lets two proposals change
places, the decoder answers otherwise. So what rounds the scores most stays in float32: where the
encoder's attention samples and how its samples are weighed, what it hands on, and the scores
themselves. Sampling points move most: a point's offset counts in cells, and half precision has
11 bits for offset and cell together.

SAM's kinds choose nothing from their numbers, and none of their parts is here.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

# Names of parts, of the groundingdino package and of transformers, and of all that they hold.
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "projections of the backbone": r"^project\.\d+",
        "sampling": r"\.(sampling_offsets|attention_weights)",
        "sampled": r"\.encoder\.layers\.\d+(\.deformable_layer)?\.self_attn\.output_proj",
        "proposals": r"\.enc_output",
        "scores": r"\.(class_embed\.\d+|enc_out_class_embed|encoder_output_class_embed)",
        "boxes": r"\.(bbox_embed\.\d+|enc_out_bbox_embed|encoder_output_bbox_embed)",
        # Its scores are large: the packages clip them at 50,000, near the largest number of fp16.
        "image and text": r"\.(fusion_layers\.\d+|fusion_layer)\.attn",
        # The package itself turns autocast off around these: they must have float32 weights.
        "the package's own": r"^transformer\.decoder\.layers\.\d+\.linear[12]",
    }
)
_EXACT = re.compile("|".join(rf"({pattern})(?=\.|$)" for pattern in PARTS.values()))


def is_exact(name: str) -> bool:
    """Tell whether `keep_exact` keeps the submodule of this name, of a part's module, exact.

    `name` is one of `named_modules()`. What such a module holds must stay in float32.
    """
    return _EXACT.search(name) is not None


def keep_exact(module: nn.Module) -> None:
    """Let the exact parts of a submodel take and return float32, whatever autocast is on around.

    Names, weights and `state_dict` stay as they are. A module without exact parts is unchanged;
    so is one that has been here before.
    """
    for name, part in module.named_modules():
        # What is inside of an exact part computes as that does.
        if is_exact(name) and not is_exact(name.rpartition(".")[0]):
            kind = type(part)
            if not issubclass(kind, _Exact):
                part.__class__ = type(f"Exact{kind.__name__}", (_Exact, kind), {})


class _Exact(nn.Module):
    """Ahead of the class of a part in the order of its classes.

    A function in place of its `forward` would hold the module that holds it: what is in such a
    circle stays on a GPU until Python looks for circles.
    """

    def forward(self, *args: object, **kwargs: object) -> Any:  # noqa: ANN401 - as the part's
        device = next(one.device for one in (*args, *kwargs.values()) if isinstance(one, Tensor))
        with torch.autocast(device.type, enabled=False):
            return super().forward(*_raised(args), **_raised(kwargs))


def _raised(given: Any) -> Any:  # noqa: ANN401 - what modules take
    """Return `given` with each tensor of floats in it in float32."""
    if isinstance(given, Tensor):
        return given.float() if given.is_floating_point() else given
    if isinstance(given, Mapping):
        return {key: _raised(value) for key, value in given.items()}
    return tuple(map(_raised, given)) if isinstance(given, tuple) else given
