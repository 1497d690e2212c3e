"""Parts of models as OpenVINO graphs: converted once from torch, stored in files, run on CPUs.

The graphs take inputs of any size but for the batch: one image at a time, which is no
slower on a CPU. They compute what torch does in float32 (tests hold them to it) in
a third of the time; docs/performance.md has the figures.
"""

import errno
import mmap
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from grounded_labeler.errors import OutOfMemory, SettingsError, WeightsError
from grounded_labeler.models.runtime.device import Precision
from grounded_labeler.models.runtime.facts import write_facts, write_tokenizer
from grounded_labeler.models.runtime.graph import (
    ALWAYS_FP32,
    RARELY_RUN,
    Array,
    Arrays,
    SubModel,
)
from grounded_labeler.weights.catalog import make_weights

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# OpenVINO's telemetry package reports every import and conversion to Google Analytics, without
# consent and from a forked process. OpenVINO works without the package.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402 - after the switch

from grounded_labeler.models.runtime.mixed_precision import (  # noqa: E402 - it imports OpenVINO
    BY_PARTS_ONLY,
    lower_parts,
    parts_of,
)

# What `lower_parts` puts into bf16 is not asked for by a hint.
_HINTS = {"fp32": "f32", "mixed": "f32", "bf16": "bf16"}
_NEED_BF16 = ("mixed", "bf16")


def export(
    parts: Mapping[str, SubModel],
    folder: Path,
    facts: "DataclassInstance",
    tokenizer: Tokenizer | None = None,
) -> None:
    """Write each part's graph into `folder` with what must be known of the model, all or none.

    Whoever runs the graphs reads `facts` and, if the model has one, its tokenizer with
    `runtime.facts`. Raises OSError when something cannot be written.
    """
    # It imports the package that it mends, which takes seconds.
    from grounded_labeler.models.runtime.openvino_tracing import traceable  # noqa: PLC0415

    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".export-"))
    try:
        for name, part in parts.items():
            with traceable():
                example = part.example()
                shapes = [list(one.shape) for one in example] if part.fixed_shapes else None
                graph = openvino.convert_model(part.module, example_input=example, input=shapes)
            _save(graph, made / f"{name}.xml")
        write_facts(made, facts)
        if tokenizer is not None:
            write_tokenizer(made, tokenizer)
        made.chmod(0o755)  # mkdtemp's is for its owner only
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _save(graph: openvino.Model, file: Path) -> None:
    try:
        openvino.save_model(graph, file, compress_to_fp16=False)
    except RuntimeError as error:  # "basic_ios::clear: iostream error" is all it says
        free = shutil.disk_usage(file.parent).free
        raise OSError(
            errno.EIO, f"OpenVINO cannot write it, {free} bytes are free", file
        ) from error


def openvino_graphs(
    names: Iterable[str], folder: Path, precision: Precision, threads: int
) -> dict[str, "CompiledGraph"]:
    """The named graphs that `export` wrote, computed on the CPU by `threads` threads.

    Raises WeightsError when a file is damaged, SettingsError when the CPU cannot compute
    in `precision`.
    """
    core = openvino.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision not in _HINTS or (precision in _NEED_BF16 and "BF16" not in capabilities):
        raise SettingsError(f"PRECISION={precision}: this CPU has no such numbers, use fp32.")
    hints = {
        "INFERENCE_NUM_THREADS": openvino_threads(threads),
        "NUM_STREAMS": 1,
    }
    graphs: dict[str, CompiledGraph] = {}
    for name in names:
        file = folder / f"{name}.xml"
        hint = _HINTS["fp32" if name in ALWAYS_FP32 | BY_PARTS_ONLY else precision]
        own = {**hints, "INFERENCE_PRECISION_HINT": hint}
        lower = partial(lower_parts, name, parts=parts_of(name, precision))
        try:
            files = _Files(file)
            graphs[name] = CompiledGraph(
                partial(_compile, core, files, own, lower), drops_weights=name in RARELY_RUN
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"{file} is damaged or of another OpenVINO: run `{make_weights()}` to make it"
                " again."
            ) from error
    return graphs


class _Files:
    """The two files of a graph as they were when they were opened.

    So a graph can be compiled again whatever has become of the files since.
    """

    def __init__(self, file: Path) -> None:
        """Raises OSError or ValueError when one is missing or empty."""
        self.operations = file.read_bytes()
        with file.with_suffix(".bin").open("rb") as opened:
            # A private copy, as OpenVINO refuses memory that cannot be written to. It never
            # writes.
            self.weights = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)

    def give_back(self) -> None:
        """Give back what was read of the weights; Linux reads them from the file again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.weights.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, eq=False)
class _Loaded:
    """What runs a compiled graph, and the files it was compiled from.

    OpenVINO computes with copies made for the CPU. It keeps pointers into the weights all
    the same, so their mapping stays open as long as the graph lives.
    """

    request: openvino.InferRequest
    files: _Files

    def release(self) -> None:
        """Give back what is between input and output, and what was read of the weights' file."""
        self.request.get_compiled_model().release_memory()
        self.files.give_back()


def _compile(
    core: openvino.Core,
    files: _Files,
    hints: Mapping[str, object],
    change: Callable[[openvino.Model], object],
) -> _Loaded:
    """Raises RuntimeError when the graph's files are damaged; `change` is made to the graph."""
    weights = np.frombuffer(files.weights, np.uint8)
    graph = core.read_model(files.operations, openvino.Tensor(weights, shared_memory=True))
    change(graph)
    loaded = _Loaded(core.compile_model(graph, "CPU", hints).create_infer_request(), files)
    loaded.release()  # of the weights' file, all was read
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
        self, compile_graph: Callable[[], _Loaded], *, drops_weights: bool = False
    ) -> None:
        """`drops_weights` says whether a graph that is released gives back its weights, too.

        It is compiled again when it runs.
        """
        self._compile, self._drops_weights = compile_graph, drops_weights
        self._turn = threading.Lock()
        self._loaded: _Loaded | None = compile_graph()

    def release(self) -> None:
        """Give back the memory between input and output, and that of weights that are dropped."""
        with self._turn:
            if self._loaded is not None:
                self._loaded.release()
            if self._drops_weights:
                self._loaded = None

    def __call__(self, *inputs: Array) -> Arrays:
        with self._turn:
            if self._loaded is None:
                self._loaded = self._compile()
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
