"""Submodels computed by PyTorch, on a CPU or a GPU."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor, nn

from grounded_labeler.errors import SettingsError
from grounded_labeler.models.runtime.device import Compute, Precision
from grounded_labeler.models.runtime.exact_parts import is_exact, keep_exact
from grounded_labeler.models.runtime.graph import ALWAYS_FP32, Array, Arrays, SubModel, Tensors
from grounded_labeler.models.runtime.recorded import Recorded
from grounded_labeler.weights.catalog import make_weights

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_WIDE = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


class TorchGraph:
    """A part of a model that PyTorch computes, on a CPU or a GPU."""

    def __init__(self, name: str, part: SubModel, device: str, precision: Precision) -> None:
        """Take over the module of `part`, which its model calls `name`, and move it to `device`."""
        self._device = device
        module = part.module if device == "cpu" or part.for_gpu is None else part.for_gpu()
        module.eval().requires_grad_(False)
        if precision in _HALVES:
            keep_exact(module)
            if device != "cpu":
                store_in(_HALVES[precision], module)
        self._compute = _kernel_by_kernel(module.to(device), device, precision)
        self._recorded: Recorded | None = None
        if device != "cpu" and not part.waits:
            self._compute = self._recorded = Recorded(name, self._compute)

    def __call__(self, *inputs: Array) -> Arrays:
        """See Graph."""
        with torch.inference_mode():
            outputs = self._compute(*(_to_device(one, self._device) for one in inputs))
        return outputs if self._device != "cpu" else tuple(out.numpy() for out in outputs)

    def release(self) -> None:
        """See Graphs.release."""
        if self._recorded is not None:
            self._recorded.release()


def _kernel_by_kernel(
    module: nn.Module, device: str, precision: Precision
) -> Callable[..., Tensors]:
    def run(*inputs: Tensor) -> Tensors:
        with lower_precision(device, precision):
            outputs = module(*inputs)
        return tuple(out.float() if out.is_floating_point() else out for out in outputs)

    return run


def torch_graphs(parts: Mapping[str, SubModel], compute: Compute) -> dict[str, TorchGraph]:
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
        name: TorchGraph(
            name, part, compute.device, "fp32" if name in ALWAYS_FP32 else compute.precision
        )
        for name, part in parts.items()
    }


def lower_precision(device: str, precision: Precision) -> AbstractContextManager[object]:
    """While open, torch computes in `precision` what bears it, and in float32 what does not."""
    return torch.autocast(
        device, dtype=_HALVES.get(precision, torch.bfloat16), enabled=precision in _HALVES
    )


def store_in(dtype: torch.dtype, module: nn.Module) -> None:
    """Store the weights of wide layers of `module` as autocast would cast them in each run.

    Those of its exact parts stay in float32.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, _WIDE) and not is_exact(name):
            layer.to(dtype)


def _to_device(array: Array, device: str) -> Tensor:
    """Give numpy's memory to torch on a CPU; copy it to a GPU without waiting, pinned."""
    if not isinstance(array, np.ndarray):
        return array
    # torch takes no array that is read-only or runs backwards.
    tensor = torch.from_numpy(np.require(array, requirements=("C", "W")))
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
