"""The parts of a model as functions of tensors, whatever computes them."""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from grounded_labeler import metrics
from grounded_labeler.models.runtime.device import Compute, Precision, Runtime, visible_cores
from grounded_labeler.weights.catalog import make_weights

Tensors = tuple[Tensor, ...]
# Takes and returns tensors on the device it was made for; float32 wherever they are floats.
Graph = Callable[..., Tensors]

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, eq=False)
class SubModel:
    """A part of a model that always runs as a whole.

    `module` takes tensors and returns a tuple of them. `example` makes inputs to trace
    it with: whatever in them is odd, or not a multiple of something, is what makes the
    traced graph fit all other sizes. `fixed_shapes` says that no other sizes are given.
    """

    module: nn.Module
    example: Callable[[], Tensors]
    fixed_shapes: bool = False


class Graphs(dict[str, Graph]):
    """The graphs of a model's parts, by name, and what computes them."""

    def __init__(self, graphs: Mapping[str, Graph], runtime: Runtime) -> None:
        super().__init__(graphs)
        self.runtime = runtime


def make_graphs(parts: Mapping[str, SubModel], compute: Compute, exported: Path | None) -> Graphs:
    """The parts computed by OpenVINO on a CPU when `exported` holds them, else by torch.

    Raises WeightsError and SettingsError as `openvino_graphs` does.
    """
    slow_because = _why_not_openvino(parts, exported) if compute.device == "cpu" else None
    if compute.device == "cpu" and exported is not None and slow_because is None:
        # Half a second to import.
        from grounded_labeler.models.runtime.openvino import (  # noqa: PLC0415
            openvino_graphs,
            openvino_threads,
        )

        graphs = openvino_graphs(parts, exported, compute.precision, compute.threads)
        name, threads = "OpenVINO", openvino_threads(compute.threads)
    else:
        graphs = _torch_graphs(parts, compute)
        name, threads = "PyTorch", compute.threads
    runtime = Runtime(name, compute.precision, threads, slow_because)
    return Graphs({name: _counted(name, graph) for name, graph in graphs.items()}, runtime)


def _why_not_openvino(parts: Mapping[str, SubModel], exported: Path | None) -> str | None:
    if exported is None or not is_exported(parts, exported):
        return f"there are no graphs for OpenVINO; `{make_weights()}` makes them{_where(exported)}"
    if visible_cores() == 1:
        # Version 2026.4 crashes there once it has run out of memory.
        return "this process may use one core only, where OpenVINO cannot be relied on"
    return None


def _where(exported: Path | None) -> str:
    """What must be said of a folder of weights that is read-only, as it is in a container."""
    there = [] if exported is None else [path for path in exported.parents if path.is_dir()]
    if not there or os.access(there[0], os.W_OK):
        return ""
    return ", with MODEL_DIR set to a folder that can be written to"


def is_exported(parts: Mapping[str, SubModel], folder: Path) -> bool:
    """Whether `folder` holds the graphs of all parts."""
    return all((folder / f"{name}.xml").is_file() for name in parts)


def _counted(name: str, graph: Graph) -> Graph:
    def run(*inputs: Tensor) -> Tensors:
        metrics.RUNS.labels(name).inc()
        return graph(*inputs)

    return run


def to_device(tensor: Tensor, device: str) -> Tensor:
    """On a GPU without waiting for the copy, which needs memory that stays in its place."""
    if device == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def lower_precision(device: str, precision: Precision) -> AbstractContextManager[object]:
    """While open, torch computes in `precision` what bears it, and in float32 what does not."""
    return torch.autocast(
        device, dtype=_HALVES.get(precision, torch.bfloat16), enabled=precision in _HALVES
    )


def _torch_graphs(parts: Mapping[str, SubModel], compute: Compute) -> dict[str, Graph]:
    return {
        name: _with_torch(part.module.eval().to(compute.device), compute.device, compute.precision)
        for name, part in parts.items()
    }


def _with_torch(module: nn.Module, device: str, precision: Precision) -> Graph:
    def run(*inputs: Tensor) -> Tensors:
        with torch.inference_mode(), lower_precision(device, precision):
            outputs = module(*inputs)
        return tuple(out.float() if out.is_floating_point() else out for out in outputs)

    return run
