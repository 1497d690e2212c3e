"""Chooses the runtime of a model: OpenVINO where its graphs are, else PyTorch."""

import os
from collections.abc import Mapping
from pathlib import Path

from grounded_labeler.models.runtime.device import Compute, Runtime, visible_cores
from grounded_labeler.models.runtime.graph import Graphs, SubModel
from grounded_labeler.models.runtime.pytorch import torch_graphs
from grounded_labeler.weights.catalog import make_weights


def make_graphs(parts: Mapping[str, SubModel], compute: Compute, exported: Path | None) -> Graphs:
    """Make the graphs of a model's parts.

    Args:
        parts: the parts, by name.
        compute: the device, the precision and the threads.
        exported: the folder that `openvino.export` wrote, if there is one.

    Returns:
        Graphs run by OpenVINO on a CPU when `exported` holds them, else by PyTorch.

    Raises WeightsError and SettingsError as `openvino_graphs` does.
    """
    slow_because = _why_not_openvino(parts, exported) if compute.device == "cpu" else None
    if compute.device == "cpu" and exported is not None and slow_because is None:
        # Half a second to import.
        from grounded_labeler.models.runtime.openvino import (  # noqa: PLC0415
            openvino_graphs,
            openvino_threads,
        )

        compiled = openvino_graphs(parts, exported, compute.precision, compute.threads)
        runtime = Runtime("OpenVINO", compute.precision, openvino_threads(compute.threads))
        return Graphs(compiled, runtime, held=tuple(compiled.values()))
    runtime = Runtime("PyTorch", compute.precision, compute.threads, slow_because)
    return Graphs(torch_graphs(parts, compute), runtime)


def is_exported(parts: Mapping[str, SubModel], folder: Path) -> bool:
    """Tell whether `folder` holds the graphs of all parts."""
    return all((folder / f"{name}.xml").is_file() for name in parts)


def _why_not_openvino(parts: Mapping[str, SubModel], exported: Path | None) -> str | None:
    if exported is None or not is_exported(parts, exported):
        return f"there are no graphs for OpenVINO; `{make_weights()}` makes them{_where(exported)}"
    if visible_cores() == 1:
        # Version 2026.4 crashes there once it has run out of memory.
        return "this process may use one core only, where OpenVINO cannot be relied on"
    return None


def _where(exported: Path | None) -> str:
    """Say what to set when the folder of weights is read-only, as it is in a container."""
    there = [] if exported is None else [path for path in exported.parents if path.is_dir()]
    if not there or os.access(there[0], os.W_OK):
        return ""
    return ", with MODEL_DIR set to a folder that can be written to"
