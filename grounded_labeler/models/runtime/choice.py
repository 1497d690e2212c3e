"""Chooses the runtime of a model: OpenVINO where its graphs are, else PyTorch.

A loader asks `find_exported`. With a folder, the facts and the graphs in it are the model, and
torch is not imported; without one, the loader builds the model from its weights and hands its
parts to `pytorch_graphs`.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from grounded_labeler.errors import WeightsError
from grounded_labeler.models.runtime.device import Compute, Runtime, visible_cores
from grounded_labeler.models.runtime.facts import FACTS
from grounded_labeler.models.runtime.graph import Graphs, SubModel
from grounded_labeler.weights.catalog import make_graphs, make_weights

logger = logging.getLogger(__name__)

# Version 2026.4 crashes there once it has run out of memory.
_ONE_CORE = "this process may use one core only, where OpenVINO cannot be relied on"


def find_exported(names: Iterable[str], compute: Compute, exported: Path | None) -> Path | None:
    """Return the folder whose graphs OpenVINO computes here, None where PyTorch has to compute.

    Args:
        names: the graphs that are needed.
        compute: the device, the precision and the threads.
        exported: the folder that `openvino_export.export` wrote, if there is one.

    Raises WeightsError when PyTorch would have to compute and is not installed.
    """
    present = exported is not None and is_exported(names, exported)
    if compute.device != "cpu" or not present:
        require_torch(exported)
        return None
    if visible_cores() > 1:
        return exported
    if find_spec("torch") is None:
        logger.warning("Allow this process a second core: %s.", _ONE_CORE)
        return exported
    return None


def exported_graphs(names: Iterable[str], compute: Compute, folder: Path) -> Graphs:
    """Make the named graphs of a folder that `find_exported` returned, for OpenVINO.

    Raises WeightsError and SettingsError as `openvino_graphs` does.
    """
    # Half a second to import.
    from grounded_labeler.models.runtime.openvino import (  # noqa: PLC0415
        openvino_graphs,
        openvino_threads,
    )

    compiled = openvino_graphs(names, folder, compute)
    runtime = Runtime("OpenVINO", compute.precision, openvino_threads(compute.threads))
    return Graphs(compiled, runtime, held=tuple(compiled.values()))


def pytorch_graphs(
    parts: Mapping[str, SubModel], compute: Compute, exported: Path | None
) -> Graphs:
    """Make the graphs of a model's parts, by name, for PyTorch.

    `exported` is what `find_exported` was given: it says why this is not OpenVINO.
    """
    from grounded_labeler.models.runtime.pytorch import torch_graphs  # noqa: PLC0415 - seconds

    slow_because = _why_not_openvino(parts, exported) if compute.device == "cpu" else None
    runtime = Runtime("PyTorch", compute.precision, compute.threads, slow_because)
    graphs = torch_graphs(parts, compute)
    return Graphs(graphs, runtime, held=tuple(graphs.values()))


def is_exported(names: Iterable[str], folder: Path) -> bool:
    """Tell whether `folder` holds the named graphs and the facts of their model."""
    files = [FACTS, *(f"{name}.xml" for name in names)]
    return all((folder / file).is_file() for file in files)


def require_torch(exported: Path | None) -> None:
    """Raise WeightsError unless what computes without graphs, and makes them, is installed.

    `exported` is where the graphs would be.
    """
    if find_spec("torch") is not None:
        return
    where = "" if exported is None else f" in {exported}"
    raise WeightsError(
        f"There are no graphs for OpenVINO{where}, and PyTorch, which makes them, is not installed "
        f"here: run {make_graphs()}."
    )


def _why_not_openvino(names: Iterable[str], exported: Path | None) -> str | None:
    if exported is None or not is_exported(names, exported):
        return f"there are no graphs for OpenVINO; `{make_weights()}` makes them{_where(exported)}"
    return _ONE_CORE if visible_cores() == 1 else None


def _where(exported: Path | None) -> str:
    """Say what to set when the folder of weights is read-only, as it is in a container."""
    there = [] if exported is None else [path for path in exported.parents if path.is_dir()]
    if not there or os.access(there[0], os.W_OK):
        return ""
    return ", with MODEL_DIR set to a folder that can be written to"
