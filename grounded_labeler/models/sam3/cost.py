"""How long SAM 3 takes on a CPU, told before anybody waits for it."""

import time
from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig

from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.pytorch import lower_precision

_ROWS = 2048
_TRIES = 3


@dataclass(frozen=True)
class Cost:
    """The floating-point operations of one image and of each phrase asked of it."""

    image: int
    phrase: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "Cost":
        """Count them for a `Sam3Config`: those of the layers on all patches, which are most."""
        vit, neck = config.vision_config.backbone_config, config.vision_config.fpn_hidden_size
        patches = (vit.image_size // vit.patch_size) ** 2
        everywhere = len(vit.global_attn_indexes)
        image = everywhere * _layer(vit, patches, patches)
        image += (vit.num_hidden_layers - everywhere) * _layer(vit, patches, vit.window_size**2)
        # The finest level is 16 times as large; its last convolution is half of what necks do.
        image += 2 * (2 * 16 * patches * 9 * neck**2)
        encoder = config.detr_encoder_config
        return cls(image, encoder.num_layers * _layer(encoder, patches, patches))

    def sentence(self, speed: float) -> str:
        """Say what that takes a CPU that does `speed` operations a second."""
        return (
            f"sam3 takes this CPU about {_seconds(self.image / speed)} for each image and at least "
            f"{_seconds(self.phrase / speed)} more for each phrase. It is made for GPUs: on a CPU, "
            "the other models take seconds."
        )


def measure_speed(compute: Compute) -> float:
    """Return how many operations a second this CPU does in a product of large matrices."""
    rows, columns = torch.randn(_ROWS, _ROWS), torch.randn(_ROWS, _ROWS)
    seconds = []
    with torch.inference_mode(), lower_precision(compute.device, compute.precision):
        for _ in range(_TRIES):
            start = time.perf_counter()
            rows @ columns
            seconds.append(time.perf_counter() - start)
    return 2 * _ROWS**3 / min(seconds)


def _layer(config: PreTrainedConfig, tokens: int, seen: int) -> int:
    """Count a transformer layer's operations where each of its tokens sees `seen` others."""
    width, inner = config.hidden_size, config.intermediate_size
    weights = 4 * width**2 + 2 * width * inner
    return int(2 * tokens * weights + 4 * tokens * seen * width)


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
