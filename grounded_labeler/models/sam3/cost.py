"""How long SAM 3 takes on a CPU, told before anybody waits for it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grounded_labeler.models.runtime.device import Compute, Runtime

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_ROWS = 2048
_TRIES = 3


@dataclass(frozen=True)
class Cost:
    """The floating-point operations of one image and of each phrase asked of it."""

    image: int
    phrase: int

    @classmethod
    def of(cls, config: "PreTrainedConfig") -> "Cost":
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


def measure_speed(compute: Compute, runtime: Runtime) -> float:
    """Return how many operations a second this CPU does in a product of large matrices.

    It is computed by the same package and in the same precision as the model.
    """
    multiply = _by_openvino(compute) if runtime.name == "OpenVINO" else _by_torch(compute)
    seconds = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - start)
    return 2 * _ROWS**3 / min(seconds)


def _by_openvino(compute: Compute) -> Callable[[], object]:
    from grounded_labeler.models.runtime.openvino import openvino_threads  # noqa: PLC0415

    threads = openvino_threads(compute.threads)
    import openvino  # noqa: PLC0415 - half a second; after the module that leaves telemetry out

    ops = openvino.opset13
    matrix = np.random.default_rng(0).standard_normal((_ROWS, _ROWS), np.float32)
    rows = ops.parameter([_ROWS, _ROWS], np.float32)
    model = openvino.Model([ops.matmul(rows, ops.constant(matrix), False, False)], [rows])
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if compute.precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
    return lambda: request.infer([matrix])


def _by_torch(compute: Compute) -> Callable[[], object]:
    import torch  # noqa: PLC0415 - seconds

    from grounded_labeler.models.runtime.pytorch import lower_precision  # noqa: PLC0415

    matrix = torch.randn(_ROWS, _ROWS)

    def multiply() -> None:
        with torch.inference_mode(), lower_precision(compute.device, compute.precision):
            matrix @ matrix

    return multiply


def _layer(config: "PreTrainedConfig", tokens: int, seen: int) -> int:
    """Count a transformer layer's operations where each of its tokens sees `seen` others."""
    width, inner = config.hidden_size, config.intermediate_size
    weights = 4 * width**2 + 2 * width * inner
    return int(2 * tokens * weights + 4 * tokens * seen * width)


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
