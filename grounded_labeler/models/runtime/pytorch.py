"""Submodels computed by PyTorch, on a CPU or a GPU."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from grounded_labeler.models.runtime.device import Compute, Precision
from grounded_labeler.models.runtime.graph import Graph, SubModel, Tensors

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def torch_graphs(parts: Mapping[str, SubModel], compute: Compute) -> dict[str, Graph]:
    """Move the parts to the device of `compute`; each runs there in its precision."""
    return {
        name: _with_torch(part.module.eval().to(compute.device), compute.device, compute.precision)
        for name, part in parts.items()
    }


def lower_precision(device: str, precision: Precision) -> AbstractContextManager[object]:
    """While open, torch computes in `precision` what bears it, and in float32 what does not."""
    return torch.autocast(
        device, dtype=_HALVES.get(precision, torch.bfloat16), enabled=precision in _HALVES
    )


def _with_torch(module: nn.Module, device: str, precision: Precision) -> Graph:
    def run(*inputs: Tensor) -> Tensors:
        with torch.inference_mode(), lower_precision(device, precision):
            outputs = module(*inputs)
        return tuple(out.float() if out.is_floating_point() else out for out in outputs)

    return run
