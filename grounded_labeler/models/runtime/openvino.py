"""Graphs of models' parts computed by OpenVINO on CPUs; openvino_export.py writes them.

The graphs take inputs of any size but for the batch: one image at a time, which is no
slower on a CPU. They compute what torch does in float32 (tests hold them to it) in
a third of the time; docs/performance.md has the figures.
"""

import hashlib
import logging
import mmap
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from grounded_labeler.errors import OutOfMemory, SettingsError, WeightsError
from grounded_labeler.models.runtime import mixed_precision as mixed
from grounded_labeler.models.runtime.compiled_files import CompiledFile
from grounded_labeler.models.runtime.device import Compute, cpu_flags
from grounded_labeler.models.runtime.facts import SUMS, read_sums
from grounded_labeler.models.runtime.graph import ALWAYS_FP32, RARELY_RUN, Array, Arrays
from grounded_labeler.weights.catalog import make_weights

logger = logging.getLogger(__name__)

# What mixed_precision puts into bf16 is not asked for by a hint.
_HINTS = {"fp32": "f32", "mixed": "f32", "bf16": "bf16"}
_NEED_BF16 = ("mixed", "bf16")
_Change = Callable[[openvino.Model], object]
# As a graph's file has it. OpenVINO 2026.4 never gives back what a loop took in and gave out, of
# Grounding DINO half a gigabyte, as long as the graph lives.
_LOOP = b'type="TensorIterator"'


def openvino_graphs(
    names: Iterable[str], folder: Path, compute: Compute
) -> dict[str, "CompiledGraph"]:
    """The named graphs of a folder that was exported, computed on the CPU as `compute` says.

    Raises WeightsError when a file is damaged, SettingsError when the CPU cannot compute
    in that precision.
    """
    precision = compute.precision
    core = openvino.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision not in _HINTS or (precision in _NEED_BF16 and "BF16" not in capabilities):
        raise SettingsError(f"PRECISION={precision}: this CPU has no such numbers, use fp32.")
    hints = {"INFERENCE_NUM_THREADS": openvino_threads(compute.threads), "NUM_STREAMS": 1}
    cpu = (openvino.get_version(), core.get_property("CPU", "FULL_DEVICE_NAME"), cpu_flags())
    sums = _sums(folder)
    graphs: dict[str, CompiledGraph] = {}
    for name in names:
        file = folder / f"{name}.xml"
        hint = _HINTS["fp32" if name in ALWAYS_FP32 | mixed.BY_PARTS_ONLY else precision]
        own = {**hints, "INFERENCE_PRECISION_HINT": hint}
        parts = mixed.parts_of(name, precision)
        lower = partial(mixed.lower_parts, name, parts=parts)
        try:
            files = _Files(file, sums)
            made_for = (files.sum, cpu, hint, *map(mixed.PARTS.get, parts))
            # Those whose weights are large compile in a moment, and would fill the disk.
            kept = None if name in RARELY_RUN else CompiledFile(file, made_for, compute.compiled)
            has_loops = _LOOP in files.operations
            graphs[name] = CompiledGraph(
                partial(_compile, core, files, own, lower, kept),
                drops_weights=name in RARELY_RUN,
                is_renewable=kept.exists if kept is not None and has_loops else lambda: False,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise _damaged(file) from error
    return graphs


def _sums(folder: Path) -> Mapping[str, object] | None:
    try:
        return read_sums(folder)
    except (OSError, ValueError) as error:
        raise _damaged(folder / SUMS) from error


def _damaged(file: Path) -> WeightsError:
    return WeightsError(
        f"{file} is damaged or of another OpenVINO: run `{make_weights()}` to make it again."
    )


class _Files:
    """The two files of a graph as they were when they were opened.

    So a graph can be compiled again whatever has become of the files since.
    """

    def __init__(self, file: Path, sums: Mapping[str, object] | None) -> None:
        """Open them; raises OSError or ValueError when one is missing or empty.

        `sums` has the SHA-256 of each by its name, None where those are not known. `sum` is that
        of the `.xml` as it is.
        """
        self.operations = file.read_bytes()
        self.sum = hashlib.sha256(self.operations).hexdigest()
        weights = file.with_suffix(".bin")
        with weights.open("rb") as opened:
            # A private copy, as OpenVINO refuses memory that cannot be written to. It never
            # writes.
            self.weights = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
        known = None if sums is None else (sums.get(file.name), sums.get(weights.name))
        self._unchecked = known

    def check(self) -> None:
        """Raise ValueError unless both are what was exported; the weights are read for it once.

        OpenVINO would run what is damaged, or of another model, and find something else.
        """
        if self._unchecked is None:
            return
        if self._unchecked != (self.sum, hashlib.sha256(self.weights).hexdigest()):
            raise ValueError("the graph is not the one that was exported")
        self._unchecked = None


@dataclass(frozen=True, eq=False)
class _Loaded:
    """What runs a compiled graph, and the file it was made from, mapped by us.

    OpenVINO computes with copies made for the CPU. It keeps pointers into the file all
    the same, so its mapping stays open as long as the graph lives.
    """

    request: openvino.InferRequest
    mapped: mmap.mmap

    def release(self) -> None:
        """Give back what is between input and output, and what was read of the mapped file.

        Should OpenVINO look at that again, Linux reads it from the file again.
        """
        self.request.get_compiled_model().release_memory()
        if hasattr(mmap, "MADV_DONTNEED"):
            self.mapped.madvise(mmap.MADV_DONTNEED)


def _compile(
    core: openvino.Core,
    files: _Files,
    hints: Mapping[str, object],
    change: _Change,
    kept: CompiledFile | None,
) -> _Loaded:
    """Read the compiled graph from `kept`, or make `change` to the graph, compile it and keep it.

    Raises ValueError or RuntimeError when the graph's files are damaged.
    """
    compiled = None if kept is None else kept.read()
    if kept is not None and compiled is not None:
        try:
            model = core.import_model(_tensor(compiled), "CPU", hints)
        except RuntimeError:
            logger.info("A compiled graph cannot be read, so it is compiled again", exc_info=True)
            kept.forget()
        else:
            return _loaded(model, compiled)
    files.check()
    graph = core.read_model(files.operations, _tensor(files.weights))
    change(graph)
    model = core.compile_model(graph, "CPU", hints)
    if kept is not None:
        kept.write(model.export_model().getbuffer())
    return _loaded(model, files.weights)


def _tensor(mapped: mmap.mmap) -> openvino.Tensor:
    return openvino.Tensor(np.frombuffer(mapped, np.uint8), shared_memory=True)


def _loaded(model: openvino.CompiledModel, mapped: mmap.mmap) -> _Loaded:
    loaded = _Loaded(model.create_infer_request(), mapped)
    loaded.release()  # of the mapped file, all was read
    return loaded


def openvino_threads(threads: int) -> int:
    """How many threads compute where `threads` may; see CompiledGraph: one alone loses errors."""
    return max(2, threads)


class CompiledGraph:
    """A compiled graph as a function; threads take turns.

    When OpenVINO 2026.4 runs out of memory on inputs of new sizes, its later outputs may
    have the sizes of the failed inputs, so the graph is compiled again. On a single core
    it reports no error and returns the previous output, so the graph overwrites each
    output after copying it, and fails when it sees the overwritten output again.
    """

    def __init__(
        self,
        compile_graph: Callable[[], _Loaded],
        *,
        drops_weights: bool = False,
        is_renewable: Callable[[], bool] = lambda: False,
    ) -> None:
        """Compile the graph, or read it compiled.

        Args:
            compile_graph: does that; each time it is called, again.
            drops_weights: whether a graph that is released gives back its weights, too. It is
                compiled again when it runs.
            is_renewable: whether a graph that ran and is released takes the memory of a new one,
                as `compile_graph` takes a moment now. It is another one then: nobody waits for it.
        """
        self._compile, self._drops_weights = compile_graph, drops_weights
        self._is_renewable, self._has_run = is_renewable, False
        self._turn = threading.Lock()
        self._loaded: _Loaded | None = compile_graph()

    def release(self) -> None:
        """Give back the memory between input and output, and that of weights that are dropped."""
        with self._turn:
            if self._drops_weights:
                self._loaded = None
            elif self._has_run and self._is_renewable():
                self._has_run = False
                self._loaded = None  # before the new one: never two at once
                self._loaded = self._compile()
            elif self._loaded is not None:
                self._loaded.release()

    def __call__(self, *inputs: Array) -> Arrays:
        with self._turn:
            if self._loaded is None:
                self._loaded = self._compile()
            self._has_run = True
            try:
                return _infer(self._loaded.request, inputs)
            except (RuntimeError, MemoryError):
                self._loaded = None
                raise


def _infer(request: openvino.InferRequest, inputs: Sequence[Array]) -> Arrays:
    request.infer(list(inputs))
    outputs: list[NDArray[np.float32]] = [tensor.data for tensor in request.output_tensors]
    answers = tuple(output.copy() for output in outputs)
    if any(not answer.size or np.isnan(answer.flat[0]) for answer in answers):
        raise OutOfMemory("OpenVINO stopped without an answer, as it does out of memory.")
    for output in outputs:
        output.flat[0] = np.nan
    return answers
