"""Submodels computed by PyTorch, on a CPU or a GPU."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor, nn

from grounded_labeler.errors import SettingsError
from grounded_labeler.models.runtime.device import Compute, Precision
from grounded_labeler.models.runtime.graph import ALWAYS_FP32, Array, Arrays, Graph, SubModel
from grounded_labeler.weights.catalog import make_weights

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def torch_graphs(parts: Mapping[str, SubModel], compute: Compute) -> dict[str, Graph]:
    """Move the parts to the device of `compute`; each runs there in its precision.

    On a CPU their outputs are numpy arrays, on a GPU tensors that stay there. Sets how many CPU
    threads torch uses in this whole process. Raises SettingsError for mixed precision, which
    only graphs for OpenVINO have.
    """
    if compute.precision == "mixed":
        raise SettingsError(
            "PRECISION=mixed needs the models' graphs for OpenVINO, and a CPU with two cores: "
            f"`{make_weights()}` makes the graphs. Or use fp32."
        )
    torch.set_num_threads(compute.threads)
    return {
        name: _with_torch(
            part.module.eval().to(compute.device),
            compute.device,
            "fp32" if name in ALWAYS_FP32 else compute.precision,
        )
        for name, part in parts.items()
    }


def lower_precision(device: str, precision: Precision) -> AbstractContextManager[object]:
    """While open, torch computes in `precision` what bears it, and in float32 what does not."""
    return torch.autocast(
        device, dtype=_HALVES.get(precision, torch.bfloat16), enabled=precision in _HALVES
    )


def _with_torch(module: nn.Module, device: str, precision: Precision) -> Graph:
    def run(*inputs: Array) -> Arrays:
        with torch.inference_mode(), lower_precision(device, precision):
            outputs = module(*(_to_device(one, device) for one in inputs))
        outputs = tuple(out.float() if out.is_floating_point() else out for out in outputs)
        return outputs if device != "cpu" else tuple(out.numpy() for out in outputs)

    return run


def _to_device(array: Array, device: str) -> Tensor:
    """Give numpy's memory to torch on a CPU; copy it to a GPU without waiting, pinned."""
    if not isinstance(array, np.ndarray):
        return array
    # torch takes no array that is read-only or runs backwards.
    tensor = torch.from_numpy(np.require(array, requirements=("C", "W")))
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
