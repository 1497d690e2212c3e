"""Graphs: parts of a model as functions of arrays, whichever runtime computes them.

Imports torch nowhere: a process that computes with OpenVINO never needs it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grounded_labeler import metrics
from grounded_labeler.models.runtime.device import Runtime

if TYPE_CHECKING:
    from torch import Tensor, nn

# A numpy array, or a tensor on the GPU that computed it. Both have `shape`, `nbytes`, indexing
# and arithmetic.
Array: TypeAlias = "NDArray[Any] | Tensor"
Arrays: TypeAlias = "tuple[Array, ...]"
# Takes numpy arrays and outputs of other graphs of the same model; float32 wherever they are
# floats. Returns numpy arrays where a CPU computes, else tensors that stay on the GPU.
Graph = Callable[..., Arrays]

# What the modules of parts take and return.
Tensors: TypeAlias = "tuple[Tensor, ...]"

# Graphs that are computed in float32 whatever the precision of the others: text encoders are a
# hundredth of the work.
ALWAYS_FP32 = frozenset({"text"})
# Graphs that run once for many runs of the others, as their outputs are cached, and whose weights
# are large: OpenVINO drops those while nothing runs. BERT's take 440 MB.
RARELY_RUN = frozenset({"text"})


class Releasable(Protocol):
    """Holds memory that it can give back until it is used again."""

    def release(self) -> None: ...


@dataclass(frozen=True, eq=False)
class SubModel:
    """A part of a model that always runs as a whole: what graphs are made of.

    Attributes:
        module: takes tensors and returns a tuple of them.
        example: makes inputs to trace the module with. Odd sizes, and sizes that are no
            multiple of anything, make the traced graph fit all other sizes.
        fixed_shapes: whether the inputs always have the sizes of the example.
        waits: whether it looks at values that a GPU has, or moves something to it, while it runs.
            If not, which kernels it launches depends on the shapes of its inputs alone.
        for_gpu: makes of `module`, which cannot be used as it was afterwards, the one that a GPU
            computes. None where that is the module itself.
    """

    module: "nn.Module"
    example: Callable[[], Tensors]
    fixed_shapes: bool = False
    waits: bool = False
    for_gpu: "Callable[[], nn.Module] | None" = None


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

    @staticmethod
    def stack(arrays: Sequence[Array]) -> Array:
        """Join inputs or outputs of one kind along the batch; a single one is not copied."""
        if len(arrays) == 1:
            return arrays[0]
        if isinstance(arrays[0], np.ndarray):
            return np.concatenate(arrays)
        import torch  # noqa: PLC0415 - whoever made the tensors has imported it

        return torch.cat([torch.as_tensor(one) for one in arrays])

    @staticmethod
    def split(outputs: Arrays) -> list[Arrays]:
        """Copy each row out of the outputs of a batch; a view would hold the whole batch."""
        count = len(outputs[0])
        if count == 1:
            return [outputs]
        return [tuple(_copy(part[row : row + 1]) for part in outputs) for row in range(count)]

    @staticmethod
    def to_numpy(array: Array) -> NDArray[Any]:
        """Return an output as it is, or copied from the GPU to the host."""
        return array if isinstance(array, np.ndarray) else np.asarray(array.cpu().numpy())


def _copy(array: Array) -> Array:
    return array.copy() if isinstance(array, np.ndarray) else array.clone()


def _counted(name: str, graph: Graph) -> Graph:
    def run(*inputs: Array) -> Arrays:
        metrics.RUNS.labels(name).inc()
        return graph(*inputs)

    return run
