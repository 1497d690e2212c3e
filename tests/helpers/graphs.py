"""Graphs of a few lines: exported without a model around them, and made as loaders make them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from grounded_labeler.models.runtime.choice import exported_graphs, find_exported, pytorch_graphs
from grounded_labeler.models.runtime.device import Compute
from grounded_labeler.models.runtime.graph import Graphs, SubModel
from grounded_labeler.models.runtime.openvino_export import export


@dataclass(frozen=True)
class NoFacts:
    """All that must be known of parts that are no model."""


def export_parts(parts: Mapping[str, SubModel], folder: Path) -> None:
    export(parts, folder, NoFacts())


def make_graphs(parts: Mapping[str, SubModel], compute: Compute, exported: Path | None) -> Graphs:
    """The graphs in `exported` where OpenVINO can compute them, else those of `parts`."""
    folder = find_exported(parts, compute, exported)
    if folder is None:
        return pytorch_graphs(parts, compute, exported)
    return exported_graphs(parts, compute, folder)
