"""Submodels and graphs: a part of a model as a function of tensors, whichever runtime runs it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from grounded_labeler import metrics
from grounded_labeler.models.runtime.device import Runtime

Tensors = tuple[Tensor, ...]
# Takes and returns tensors on the device it was made for; float32 wherever they are floats.
Graph = Callable[..., Tensors]


class Releasable(Protocol):
    """Holds memory that it can give back until it is used again."""

    def release(self) -> None: ...


@dataclass(frozen=True, eq=False)
class SubModel:
    """A part of a model that always runs as a whole.

    Attributes:
        module: takes tensors and returns a tuple of them.
        example: makes inputs to trace the module with. Odd sizes, and sizes that are no
            multiple of anything, make the traced graph fit all other sizes.
        fixed_shapes: whether the inputs always have the sizes of the example.
    """

    module: nn.Module
    example: Callable[[], Tensors]
    fixed_shapes: bool = False


class Graphs(dict[str, Graph]):
    """The graphs of a model's parts, by name, and the runtime that computes them."""

    def __init__(
        self, graphs: Mapping[str, Graph], runtime: Runtime, held: Sequence[Releasable] = ()
    ) -> None:
        """Count each run of a graph in the metrics; `held` are the graphs to release."""
        super().__init__({name: _counted(name, graph) for name, graph in graphs.items()})
        self.runtime = runtime
        self._held = tuple(held)

    def release(self) -> None:
        """Give back the memory that the graphs need only while they run."""
        for graph in self._held:
            graph.release()


def to_device(tensor: Tensor, device: str) -> Tensor:
    """Copy to a GPU without waiting, from pinned memory; a CPU needs no copy."""
    if device == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def _counted(name: str, graph: Graph) -> Graph:
    def run(*inputs: Tensor) -> Tensors:
        metrics.RUNS.labels(name).inc()
        return graph(*inputs)

    return run
