"""Modules whose kernels a GPU gets all at once, by CUDA graphs.

A run of a detector is 3,000 small kernels, and to launch one takes the host longer than most of
them take the GPU. What is asked of the same shapes again is recorded: from then on one launch
does it all. A recorded run is right for other inputs of these shapes only where nothing that the
module does depends on values (without_waiting.py).
"""

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grounded_labeler.models.runtime.graph import Tensors

logger = logging.getLogger(__name__)

# Graphs of one module that are kept, those asked for last: images of a project have few sizes,
# prompts few lengths.
MOST = 8

_Key = tuple[tuple[torch.Size, torch.dtype], ...]


@dataclass(frozen=True, eq=False)
class Recording:
    """A graph, where its inputs have to be put and where its outputs are then."""

    graph: Any
    inputs: Tensors
    outputs: Tensors

    def run(self, inputs: Tensors) -> Tensors:
        for place, given in zip(self.inputs, inputs, strict=True):
            place.copy_(given, non_blocking=True)
        self.graph.replay()
        return tuple(output.clone() for output in self.outputs)


class Memory:
    """The device memory that recordings share, and the lock of who uses it.

    They share what they need only while they run, so only one of them may run at a time.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._pool: Any = None
        self._recordings: weakref.WeakSet[Recording] = weakref.WeakSet()

    def record(self, compute: Callable[..., Tensors], inputs: Tensors) -> Recording:
        """Record what `compute` does with `inputs`; it must have run once with such ones.

        Raises RuntimeError when it waits for the device after all, and torch.OutOfMemoryError,
        which is one, when that has not enough memory.
        """
        if not self._recordings:
            # torch wants another pool once the last graph of one is gone.
            self._pool = torch.cuda.graph_pool_handle()
        kept = tuple(given.clone() for given in inputs)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = compute(*kept)
        recording = Recording(graph, kept, outputs)
        self._recordings.add(recording)
        return recording


# Of this process: models take turns anyway.
SHARED = Memory()


class Recorded:
    """A function of tensors on the GPU that records itself; safe to share between threads."""

    def __init__(
        self,
        name: str,
        compute: Callable[..., Tensors],
        memory: Memory = SHARED,
        most: int = MOST,
    ) -> None:
        """Keep at most `most` recordings of `compute`, whose kernels depend on shapes alone."""
        self._name, self._compute, self._memory, self._most = name, compute, memory, most
        self._recordings: OrderedDict[_Key, Recording] = OrderedDict()
        self._seen: OrderedDict[_Key, None] = OrderedDict()  # once, and not recorded yet
        self._is_recording = True

    def __call__(self, *inputs: Tensor) -> Tensors:
        """Compute; the second time that shapes come, record it, and from then on run that.

        The first time warms up what a recording cannot: it chooses kernels and loads them.
        Batches of several images are computed without: they keep a GPU busy as it is, and their
        recordings would hold much of its memory.
        """
        if len(inputs[0]) > 1:
            return self._compute(*inputs)
        key = tuple((given.shape, given.dtype) for given in inputs)
        with self._memory.lock:
            recording = self._recordings.get(key) or self._record(key, inputs)
            if recording is None:
                return self._compute(*inputs)
            self._recordings.move_to_end(key)
            return recording.run(inputs)

    def release(self) -> None:
        """Forget all recordings, and with them the memory that they hold."""
        with self._memory.lock:
            self._recordings.clear()
            self._seen.clear()
            self._is_recording = True

    def _record(self, key: _Key, inputs: Tensors) -> Recording | None:
        """Record what was seen once; None if it was not, or if that has failed before."""
        if key not in self._seen:
            self._seen[key] = None
            while len(self._seen) > self._most:
                self._seen.popitem(last=False)
            return None
        if not self._is_recording:
            return None
        try:
            recording = self._memory.record(self._compute, inputs)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            self._is_recording = False
            self._recordings.clear()
            logger.warning(
                "The %s runs kernel by kernel on the GPU, which takes longer: it could not be "
                "recorded (%s)",
                self._name,
                str(error).partition("\n")[0],
            )
            return None
        del self._seen[key]
        self._recordings[key] = recording
        while len(self._recordings) > self._most:
            self._recordings.popitem(last=False)
        return recording
